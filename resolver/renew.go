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
			s.saveAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// saveAll writes every live policy that is in memory, many at once so that they share the store's commits. Those that
// the store has already cost it no write.
func (s *Service) saveAll(ctx context.Context) {
	c, ok := s.memory.(census)
	if !ok {
		return
	}
	writes, ctx := errgroup.WithContext(ctx)
	writes.SetLimit(writesAtOnce)
	n := 0
	for h := range c.All() {
		if ctx.Err() != nil {
			break
		}
		n++
		writes.Go(func() error {
			s.saveFromMemory(ctx, h.Entry.Domain)
			return ctx.Err()
		})
	}
	if writes.Wait() == nil { // else it is the end
		s.log.Info("the policy store was recreated and refilled from memory", "event",
			"store_renewed", "policies", n)
	}
}

// saveFromMemory writes what memory holds of a domain. A lookup may be under way, which alone then waits for: after it,
// it is tried again.
func (s *Service) saveFromMemory(ctx context.Context, domain dnsname.Name) {
	for done := false; !done && ctx.Err() == nil; {
		s.alone(domain, func() {
			done = true
			if h, ok := s.memory.Policy(domain); ok && h.Entry.Live(s.now()) {
				s.pending.save(ctx, h)
			}
		})
	}
}
