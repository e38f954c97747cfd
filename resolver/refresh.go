package resolver

import (
	"context"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// scanInterval is the time between two walks over the store, which find the refreshes of the time until the next
	// one.
	scanInterval = time.Hour
	// refreshPace is the least time between the starts of two refreshes: 50 a second at most, 100,000 in 34 minutes.
	refreshPace = 20 * time.Millisecond
	// clockPatience is how long the loop sleeps at most: the wall clock may be set while it does.
	clockPatience = time.Minute
)

// Run refreshes policies before they expire and looks after the store, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.scanLoop(ctx) })
	running.Go(func() { every(ctx, saveRetry, func() { s.pending.retry(ctx, s.alone) }) })
	running.Go(func() { s.renewLoop(ctx) })
	running.Go(func() { s.watchLoop(ctx) })
	s.refreshLoop(ctx)
}

// every calls f each time that so long has passed, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// refreshLoop starts a refresh when its time comes, at a bounded rate and with half of the fetches at most, so that a
// week's arrears neither burst nor hold up questions.
func (s *Service) refreshLoop(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		domain, wait := s.queue.next(s.now(), clockPatience)
		if domain.IsZero() {
			s.sleep(ctx, wait)
			continue
		}
		slots := s.config.Load().refreshes
		if slots.Acquire(ctx, 1) != nil {
			return
		}
		running.Go(func() {
			defer slots.Release(1)
			s.refresh(domain)
		})
		pause(ctx, refreshPace)
	}
}

// sleep waits, but not past something sooner on the agenda.
func (s *Service) sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.queue.wake:
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refresh advances a domain by the same path as a question. The first step may only take the policy from the store into
// memory; then the second one looks at the network.
func (s *Service) refresh(domain dnsname.Name) {
	defer s.queue.done(domain)
	again := time.Time{}
	for range 2 {
		h, ok := s.advanced(domain).(*CachedPolicy)
		if !ok || h.Entry.NextCheck(s.config.Load().RefreshInterval).After(s.now()) {
			return
		}
		again = h.nextLook()
		if again.After(s.now()) {
			break // the network was looked at, and the fetch failed by a fault of this host
		}
	}
	// Too much was under way, another host's news came between, memory dropped the policy between the two steps, or the
	// fleet has refused the fetch until the next look at the TXT record.
	now := s.now()
	if soon := now.Add(recheckFailed); again.Before(soon) {
		again = soon
	}
	s.queue.add(domain, earlier(again, now.Add(maxCheck))) // a clock that ran ahead may have set it
}

// schedule puts a policy's refresh on the agenda, unless nobody has asked for it for long or it expires before.
func (s *Service) schedule(h *CachedPolicy) {
	cfg := s.config.Load()
	if at, ok := refreshAt(cfg, h.Entry, h.Used()); ok {
		s.queue.add(h.Entry.Domain, s.stagger(h.Entry.Domain, at))
	}
}

// refreshAt is when an entry last asked for at used should be refreshed, and whether it should be at all.
func refreshAt(cfg *config, e Entry, used time.Time) (time.Time, bool) {
	at := e.NextCheck(cfg.RefreshInterval)
	return at, !at.After(e.Expires()) && at.Sub(used) < cfg.UnusedAfter
}
