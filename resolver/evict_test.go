package resolver_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// learn publishes a policy of a domain and asks for it.
func (w *world) learn(s *resolver.Service, domain, file string) {
	w.t.Helper()
	w.publish(domain, "1", file)
	if v := ask(s, domain); v.Outcome != resolver.Enforce {
		w.t.Errorf("%s: %v when it is learnt", domain, v.Outcome)
	}
}

// TestFloodEvictsItself: a flood of domains of few registrable names, right after a start, leaves the store within its
// bound and takes nothing from the domains that were asked for a minute before, although they are the oldest.
func TestFloodEvictsItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why    string
		owners int // registrable domains of the flood
	}{{"one registrable domain", 1}, {"twenty registrable domains", 20}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: w, MaxPolicies: 1000})
			defer stop()
			file := body("enforce", 30*day, "mx.example.test")
			for i := range 20 {
				w.learn(s, fmt.Sprintf("victim%d.test", i), file)
			}
			pass(minute)
			for i := range 2100 {
				w.learn(s, fmt.Sprintf("n%d.flood%d.test", i, i%c.owners), file)
				pass(100 * time.Millisecond)
			}
			pass(minute)
			if n := w.size(); n > 1000 || n < 950 {
				t.Errorf("%s: %d policies in a store that may hold 1000", c.why, n)
			}
			w.set(func() { clear(w.ids) })
			for i := range 20 {
				wantOutcome(t, c.why+": a policy that was there before", s, fmt.Sprintf("victim%d.test", i),
					resolver.Enforce)
			}
			if n := w.events("store_full"); n != 1 {
				t.Errorf("%s: %d lines in four minutes, want 1", c.why, n)
			}
		})
	}
}

// TestPoliciesInUseStay: policies that were asked for on several days are not evicted while others are there, although
// they are many of one registrable domain, and older.
func TestPoliciesInUseStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: w, MaxPolicies: 100})
		defer stop()
		file := body("enforce", 30*day, "mx.example.test")
		for range 3 {
			for i := range 60 {
				w.learn(s, fmt.Sprintf("n%d.inuse.test", i), file)
			}
			pass(day)
		}
		for i := range 200 {
			w.learn(s, fmt.Sprintf("once%d.test", i), file)
			pass(time.Second)
		}
		pass(minute)
		for i := range 60 {
			if !w.holds(fmt.Sprintf("n%d.inuse.test", i)) {
				t.Errorf("n%d.inuse.test, which was asked for on three days, is gone", i)
			}
		}
		if n := w.size(); n > 100 {
			t.Errorf("%d policies in a store that may hold 100", n)
		}
	})
}

// TestStoreIsBoundedInBytes: policies of 64 KiB fill the store's bytes long before its count, and go before the small
// ones, which are older.
func TestStoreIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const limit = 4 << 20
		s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: w, MaxStoreBytes: limit})
		defer stop()
		for i := range 50 {
			w.learn(s, fmt.Sprintf("small%d.test", i), body("enforce", 30*day, "mx.example.test"))
		}
		large := body("enforce", 30*day, "mx.example.test")
		large += strings.Repeat("mx: mx.example.test\n", (64<<10-len(large))/len("mx: mx.example.test\n"))
		for i := range 200 {
			w.learn(s, fmt.Sprintf("large%d.test", i), large)
			pass(time.Second)
		}
		pass(minute)
		w.set(func() {
			bytes := 0
			for _, e := range w.stored {
				bytes += len(e.Policy.Text)
			}
			if bytes > limit || bytes < limit*9/10 {
				t.Errorf("%d bytes of policies in a store that may hold %d", bytes, limit)
			}
		})
		for i := range 50 {
			if !w.holds(fmt.Sprintf("small%d.test", i)) {
				t.Errorf("small%d.test is gone", i)
			}
		}
	})
}
