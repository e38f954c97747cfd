package resolver

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// renewLoop puts what is in memory into the store again whenever the store has begun anew, until ctx ends.
func (s *Service) renewLoop(ctx context.Context) {
	for {
		select {
		case <-s.renewed:
			s.saveHeld(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// saveHeld writes every live policy that is in memory, many at once so that they share the store's commits. Those that
// the store has already cost it no write.
func (s *Service) saveHeld(ctx context.Context) {
	c, ok := s.memory.(census)
	if !ok {
		return
	}
	writes, ctx := errgroup.WithContext(ctx)
	writes.SetLimit(retriesAtOnce)
	n := 0
	for h := range c.Held() {
		if ctx.Err() != nil {
			break
		}
		n++
		writes.Go(func() error {
			s.saveAgain(ctx, h.Entry.Domain)
			return ctx.Err()
		})
	}
	if writes.Wait() == nil { // else it is the end
		s.log.Info("the policy store has begun anew: what was in memory is in it again, or waits for the disk", "event",
			"store_renewed", "policies", n)
	}
}

// saveAgain writes what memory holds of a domain. A lookup may be under way, which alone then waits for: after it, it
// is tried again.
func (s *Service) saveAgain(ctx context.Context, domain dnsname.Name) {
	for done := false; !done && ctx.Err() == nil; {
		s.alone(domain, func() {
			done = true
			if h, ok := s.memory.Policy(domain); ok && h.Entry.Live(s.now()) {
				s.saver.save(ctx, h)
			}
		})
	}
}
