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
// little mail the next question may be days away. In memory the time since the last look is known.
func TestPolicyOfFutureIsLookedAt(t *testing.T) {
	restart := func(w *world, s *resolver.Service) *resolver.Service { s.Close(); return w.start() }
	stay := func(_ *world, s *resolver.Service) *resolver.Service { return s }
	for _, c := range []struct {
		why  string
		part time.Duration // of a second that has passed when the question comes
		disk error
		next func(*world, *resolver.Service) *resolver.Service
		look int
	}{
		{"from the store, at a whole second", 0, nil, restart, 1},
		{"from the store", 741 * time.Millisecond, nil, restart, 1},
		{"from the store, which refuses writes", 895 * time.Millisecond, errors.New("no space left"), restart, 1},
		{"from memory", 741 * time.Millisecond, nil, stay, 0},
		{"from memory, its TTL later", 4*minute + 741*time.Millisecond, nil, stay, 1},
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
				w.want("the first question", c.look, 0)
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

// TestClockSetBesideNegatives: what is remembered of a domain without a policy holds for as long as it was to hold,
// however the wall clock is set meanwhile.
func TestClockSetBesideNegatives(t *testing.T) {
	const ttl = 10 * minute
	for _, by := range []time.Duration{time.Hour, -time.Hour, 5 * minute, -5 * minute, 400 * day, -400 * day} {
		for _, c := range []struct {
			why     string
			prepare func(*world)
			want    resolver.Outcome
			lasts   time.Duration
			gets    int
		}{
			{"no record", func(*world) {}, resolver.Absent, ttl, 0},
			{"the DNS fails", func(w *world) { w.mute = true }, resolver.Unknown, minute, 0},
			{"the policy host fails", func(w *world) { w.ids["example.test"] = "1" },
				resolver.Unfetched, 5 * minute, 1},
		} {
			t.Run(c.why+", set by "+by.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.set(func() { w.ttl = ttl; c.prepare(w) })
					s := w.start()
					defer s.Close()
					wantOutcome(t, "at first", s, "example.test", c.want)
					w.want("at first", 1, c.gets)
					w.set(func() { w.ahead = by })
					pass(c.lasts - time.Millisecond)
					wantOutcome(t, "nearly at its end", s, "example.test", c.want)
					w.want("nearly at its end", 0, 0)
					pass(time.Millisecond)
					wantOutcome(t, "at its end", s, "example.test", c.want)
					w.want("at its end", 1, c.gets)
				})
			})
		}
	}
}
