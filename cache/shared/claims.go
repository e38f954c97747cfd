package shared

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// claims claims fetches, so that one host fetches at a time.
type claims struct {
	engine *engine
	values *values

	granted, taken, refused, unclaimed atomic.Uint64 // ClaimStats
}

// claim asks for the right to fetch a domain's policy. The claim is resolver.ClaimAlone while the engine fails.
func (c *claims) claim(ctx context.Context, domain dnsname.Name, a resolver.Attempt) resolver.Claim {
	e := c.engine
	h := holding{claims: c, domain: domain, slots: e.commands.slotKeys(domain, a.ID), began: e.now()}
	h.text = slot{slotClaim, h.began, fmt.Sprintf("%s%016x", e.commands.sender, rand.Uint64())}.String()
	var found claimed
	err := e.use(ctx, &e.health.writes, func(ctx context.Context, client valkey.Client) (err error) {
		found, err = e.commands.claim(ctx, client, h, a)
		return err
	})
	if err != nil {
		c.unclaimed.Add(1)
		if !errors.Is(err, errTripped) {
			h.become("", 0) // it may have been granted all the same
		}
		return resolver.Claim{}
	}
	claim := resolver.Claim{SharedState: c.values.decode(ctx, domain, found.value), Failed: failedAttempts(found.used)}
	switch found.word {
	case wordGranted:
		c.granted.Add(1)
		claim.State = resolver.ClaimGranted
		claim.Release, claim.Fail = h.keep()
	case wordRefused:
		c.refused.Add(1)
		claim.State = resolver.ClaimRefused
	default:
		c.taken.Add(1)
		claim.State = resolver.ClaimTaken
	}
	return claim
}
