package resolver_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// TestPolicyOfFutureIsLookedAt: the first question for a policy that a clock that ran ahead has fetched starts a look
// at its TXT record, wherever in a second it comes: nobody knows how old the last look is, and for a domain that gets
// little mail the next question may be days away.
func TestPolicyOfFutureIsLookedAt(t *testing.T) {
	restart := func(w *world, s *resolver.Service) *resolver.Service { s.Close(); return w.start() }
	stay := func(_ *world, s *resolver.Service) *resolver.Service { return s }
	for _, c := range []struct {
		why  string
		part time.Duration // of a second that has passed when the question comes
		disk error
		next func(*world, *resolver.Service) *resolver.Service
	}{
		{"from the store, at a whole second", 0, nil, restart},
		{"from the store", 741 * time.Millisecond, nil, restart},
		{"from the store, which refuses writes", 895 * time.Millisecond, errors.New("no space left"), restart},
		{"from memory", 741 * time.Millisecond, nil, stay},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
				s := w.start()
				wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
				w.set(func() { w.ahead, w.broken = -day, c.disk })
				pass(time.Minute + c.part)
				s = c.next(w, s)
				defer s.Close()
				w.counts()
				wantOutcome(t, "the first question", s, "example.test", resolver.Enforce)
				synctest.Wait()
				w.want("the first question", 1, 0)
			})
		})
	}
}

// TestFleetPolicyOfFutureIsLookedAt: the same of a policy that another host has fetched, whose clock runs ahead.
func TestFleetPolicyOfFutureIsLookedAt(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
		h.set(func() { h.deaf = true })
		askAll(t, hosts[:1], shared, resolver.Enforce)
		hosts[1].own.set(func() { hosts[1].own.ahead = -day })
		pass(time.Minute + 741*time.Millisecond)
		w.counts()
		askAll(t, hosts[1:2], shared, resolver.Enforce)
		pass(2 * w.delay)
		w.want("the first question", 1, 0)
	})
}
