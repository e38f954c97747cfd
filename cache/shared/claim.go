package shared

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// claimLife is how long a claim outlives its host.
	claimLife = 6 * time.Second
	// claimProlong is the time between two prolongations of a claim, for fetches that take long.
	claimProlong = 2 * time.Second
)

// Claim implements resolver.Fleet.
func (s *Fleet) Claim(ctx context.Context, domain dnsname.Name, a resolver.Attempt) resolver.Claim {
	h := holding{s: s, domain: domain, slots: s.slotKeys(domain, a.ID), began: s.now()}
	h.text = slot{slotClaim, h.began, fmt.Sprintf("%s%016x", s.sender, rand.Uint64())}.String()
	var found claimed
	err := s.use(ctx, &s.health.writes, func(ctx context.Context, c valkey.Client) (err error) {
		found, err = s.claim(ctx, c, h, a)
		return err
	})
	if err != nil {
		s.stats.unclaimed.Add(1)
		if !errors.Is(err, errTripped) {
			h.become("", 0) // it may have been granted all the same
		}
		return resolver.Claim{}
	}
	claim := resolver.Claim{SharedState: s.read(ctx, domain, found.value), Failed: failedAttempts(found.used)}
	switch found.word {
	case wordGranted:
		s.stats.granted.Add(1)
		claim.State = resolver.ClaimGranted
		claim.Release, claim.Fail = h.keep()
	case wordRefused:
		s.stats.refused.Add(1)
		claim.State = resolver.ClaimRefused
	default:
		s.stats.taken.Add(1)
		claim.State = resolver.ClaimTaken
	}
	return claim
}

// holding is a claim of this host's in one of the slots.
type holding struct {
	s      *Fleet
	domain dnsname.Name
	slots  []string // one of which has the text
	text   string
	began  time.Time
}

// keep prolongs the claim until one of the functions that it returns is called, which end it: with a free slot, or with
// one that holds a failed attempt.
func (h holding) keep() (release, fail func()) {
	ctx, cancel := context.WithCancel(h.s.ctx)
	var beat *time.Timer
	var mu sync.Mutex // a beat under way ends before the claim does
	beat = time.AfterFunc(claimProlong, func() {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil && h.become(h.text, claimLife) {
			beat.Reset(claimProlong)
		}
	})
	var once sync.Once
	end := func(text string, life time.Duration) {
		once.Do(func() {
			cancel()
			mu.Lock()
			defer mu.Unlock()
			beat.Stop()
			h.become(text, life)
		})
	}
	return func() { end("", 0) }, func() {
		left := resolver.AttemptWindow - h.s.now().Sub(h.began)
		end(slot{slotFailed, h.began, h.s.self}.String(), min(max(left, time.Millisecond), resolver.AttemptWindow))
	}
}

// become gives the claim's slot another text for so long, or frees it where the life is 0; false: the claim is lost.
// What could not be asked may still be ours; a claim that cannot be ended ends by itself.
func (h holding) become(text string, life time.Duration) bool {
	mine := false
	err := h.s.use(context.Background(), &h.s.health.writes, func(ctx context.Context, c valkey.Client) (err error) {
		mine, err = h.s.replace(ctx, c, replacement{h.slots, h.text, text, life})
		return err
	})
	if err != nil && life > 0 {
		h.s.stats.unclaimed.Add(1) // the claim may end before the fetch, or the failure is not counted
	}
	return mine || err != nil
}
