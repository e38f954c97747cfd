package resolver

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// maxHeard bounds what was heard and not taken in yet. More is not missed: the next look at the domain's TXT
	// record, or the next refresh, finds it.
	maxHeard = 10_000
	// applyWorkers is how many are taken in at once: they share the store's commits.
	applyWorkers = 32
	// offerPace is the least time between two policies that are offered to a fleet that may have forgotten them.
	offerPace = 5 * time.Millisecond
	// offerRetry is the time until the next try when the fleet cannot be reached.
	offerRetry = time.Second
)

// watchLoop takes in what other hosts tell, until ctx ends.
func (s *Service) watchLoop(ctx context.Context) {
	news, renewals := make(chan dnsname.Name, maxHeard), make(chan struct{}, 1)
	var running sync.WaitGroup
	for range applyWorkers {
		running.Go(func() { s.applyLoop(ctx, news) })
	}
	running.Go(func() { s.offerLoop(ctx, renewals) })
	s.fleet.Watch(ctx, func(domain dnsname.Name) {
		select {
		case news <- domain:
		default:
		}
	}, func() {
		select {
		case renewals <- struct{}{}:
		default: // one is to come already
		}
	})
	running.Wait()
}

func (s *Service) applyLoop(ctx context.Context, news <-chan dnsname.Name) {
	for {
		select {
		case domain := <-news:
			s.applyShared(ctx, domain)
		case <-ctx.Done():
			return
		}
	}
}

// heard is what a flight that took in news brings those who joined it: they look again.
type heard struct{ panicked any }

// heed takes in what the fleet knows of a domain, in a flight of its own: one that had begun before may have looked too
// early.
func (s *Service) applyShared(ctx context.Context, domain dnsname.Name) {
	mine := &heard{}
	for ctx.Err() == nil {
		select {
		case r := <-s.flight.DoChan(domain.String(), func() (any, error) { s.takeIn(domain, mine); return mine, nil }):
			if r.Val == any(mine) {
				return
			}
		case <-ctx.Done():
		}
	}
}

// takeIn runs inside the domain's flight.
func (s *Service) takeIn(domain dnsname.Name, mine *heard) {
	if !s.running.begin() {
		return
	}
	defer s.running.done()
	defer func() {
		if mine.panicked = recover(); mine.panicked != nil {
			s.log.Error("shared state of a domain was not applied, by a fault in stsmapd; please report it",
				"event", "panic",
				"domain", domain, "panic", fmt.Sprint(mine.panicked), "stack", string(debug.Stack()))
		}
	}()
	known, inMemory := s.memory.Policy(domain)
	if !inMemory {
		var err error
		if known, err = s.recall(s.ctx, domain); err != nil {
			return // there may be something newer in the store
		}
	}
	if known != nil && !known.Entry.Live(s.now()) {
		known = nil
	}
	s.mergeShared(s.ctx, domain, known, s.fleet.Find(s.ctx, domain))
}

// offerLoop offers the fleet what the store has, each time that the fleet may have forgotten what it knew.
func (s *Service) offerLoop(ctx context.Context, renewals <-chan struct{}) {
	for {
		select {
		case <-renewals:
			s.offerAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Service) offerAll(ctx context.Context) {
	offered := 0
	for e, err := range s.store.All(ctx) {
		if err != nil || !e.Live(s.now()) || e.Fetched.After(s.now()) || e.Doubtful() {
			continue
		}
		e.Failures = FetchFailures{} // what failed here says nothing of other hosts
		for s.fleet.Offer(ctx, e) != nil {
			if pause(ctx, offerRetry); ctx.Err() != nil {
				return
			}
		}
		offered++
		if pause(ctx, offerPace); ctx.Err() != nil {
			return
		}
	}
	s.log.Info("all policies of this host were offered to the fleet", "event", "shared_offered", "policies",
		offered)
}
