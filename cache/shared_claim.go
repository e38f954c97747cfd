package cache

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
func (s *Shared) Claim(ctx context.Context, domain dnsname.Name) resolver.Claim {
	token := fmt.Sprintf("%s%016x", s.sender, rand.Uint64())
	var granted bool
	var text string
	err := s.use(ctx, &s.health.writes, func(ctx context.Context, c valkey.Client) (err error) {
		granted, text, err = s.claim(ctx, c, domain, token)
		return err
	})
	if err != nil {
		s.stats.unclaimed.Add(1)
		if !errors.Is(err, errTripped) {
			s.release(domain, token) // it may have been granted all the same
		}
		return resolver.Claim{}
	}
	known := s.read(ctx, domain, text)
	if !granted {
		s.stats.taken.Add(1)
		return resolver.Claim{Tidings: known, State: resolver.ClaimTaken}
	}
	s.stats.granted.Add(1)
	return resolver.Claim{Tidings: known, State: resolver.ClaimGranted, Release: s.hold(domain, token)}
}

// hold prolongs a claim until the function that it returns is called, which ends the claim.
func (s *Shared) hold(domain dnsname.Name, token string) (release func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var beat *time.Timer
	var mu sync.Mutex // a beat under way ends before the claim does
	beat = time.AfterFunc(claimProlong, func() {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil && s.extend(ctx, domain, token, claimLife) {
			beat.Reset(claimProlong)
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		beat.Stop()
		s.release(domain, token)
	})
}

// extend gives a claim another life; false: it is lost.
func (s *Shared) extend(ctx context.Context, domain dnsname.Name, token string, life time.Duration) bool {
	mine := false
	err := s.use(ctx, &s.health.writes, func(ctx context.Context, c valkey.Client) (err error) {
		mine, err = s.prolong(ctx, c, domain, token, life)
		return err
	})
	if err != nil && life > 0 {
		s.stats.unclaimed.Add(1) // the claim may end before the fetch
	}
	return mine || err != nil // what could not be asked may still be ours
}

// release ends a claim. If it cannot, the claim ends by itself.
func (s *Shared) release(domain dnsname.Name, token string) {
	s.extend(context.Background(), domain, token, 0)
}
