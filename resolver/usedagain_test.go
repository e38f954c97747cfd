package resolver_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// TestUsedAgain: a policy that nobody has asked for in 100 days is refreshed once more after the start, and not queued
// for another time. A question makes it one in use: it is refreshed before its 10 minutes end.
func TestUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 365*day, "mx.example.test"))
		s, stop := w.run()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		pass(14 * time.Hour)
		stop()
		pass(100 * day)
		w.publish("example.test", "1", body("enforce", 10*minute, "mx.example.test"))
		w.counts()
		s, stop = w.run()
		defer stop()
		pass(time.Second)
		w.want("at the start", 1, 1)
		wantOutcome(t, "asked for again", s, "example.test", resolver.Enforce)
		pass(9 * minute)
		if _, gets := w.counts(); gets == 0 {
			t.Error("asked for again, and not refreshed before its max_age ended")
		}
	})
}
