package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// runOn is run with another store, or another internet, than the world's own.
func (w *world) runOn(store resolver.Store, settings resolver.Settings) (s *resolver.Service, stop func()) {
	s = resolver.NewService(resolver.Options{
		DANEMemory: &memorytest.Findings{}, Now: w.now,
		Settings: settings,
		Store:    store,
		Memory:   memorytest.New(),
		Logger:   slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return s, func() { cancel(); s.Close(); <-done }
}

// fullDisk is a store that has no room for a write; a removal needs none.
type fullDisk struct {
	*world
	full bool // guarded by world.mu
}

func (f *fullDisk) Put(ctx context.Context, e resolver.Entry) error {
	f.mu.Lock()
	full := f.full
	f.mu.Unlock()
	if full {
		return errors.New("no space left on device")
	}
	return f.world.Put(ctx, e)
}

// TestFullDiskForgetsNothing: on a disk without room for writes a policy is refreshed in memory alone. When the store's
// old record of it expires, that one goes, and not the policy.
func TestFullDiskForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &fullDisk{world: w}
		w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer func() { stop() }()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.set(func() { store.full = true })
		pass(11 * day) // the record in the store has expired, the policy was refreshed daily
		w.set(func() { w.mute = true; clear(w.files) })
		pass(3 * time.Hour)
		atOnce(t, "in memory", func() {
			wantOutcome(t, "after the end of the record in the store", s, "example.test", resolver.Enforce)
		})
		w.set(func() { store.full = false })
		pass(minute)
		stop()
		s, stop = w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		wantOutcome(t, "after a restart", s, "example.test", resolver.Enforce)
	})
}

// TestLastWrite: what waits for the disk is written at the end, if that is possible by now; else the log says what is
// lost.
func TestLastWrite(t *testing.T) {
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			store := &fullDisk{world: w, full: true}
			s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
			for i := range 3 {
				domain := fmt.Sprintf("d%d.test", i)
				w.publish(domain, "1", body("enforce", 10*day, "mx.example.test"))
				wantOutcome(t, "learnt on a full disk", s, domain, resolver.Enforce)
			}
			w.set(func() { store.full = full })
			stop()
			stored, lines := 3, 0
			if full {
				stored, lines = 0, 1
			}
			if w.size() != stored || w.events("store_lost") != lines {
				t.Errorf("full at the end: %v: %d policies written, want %d:\n%s", full, w.size(), stored,
					w.log.String())
			}
		})
	}
}

// TestFailureBeforeClockIsSetBack: a fetch fails while the clock runs ahead (as it will, for no certificate is valid
// then). Its backoff must not last until the clock gets there again.
func TestFailureBeforeClockIsSetBack(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Hour, day, 365 * day} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("example.test", "1", "")
			s, stop := w.run()
			defer stop()
			w.set(func() { w.ahead = ahead })
			wantOutcome(t, "with the clock ahead", s, "example.test", resolver.Unfetched)
			w.set(func() { w.ahead = 0 })
			w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
			pass(time.Hour)
			wantOutcome(t, fmt.Sprintf("an hour after it was set back %v", ahead), s, "example.test", resolver.Enforce)
		})
	}
}

// TestRefreshAfterClockIsSetBack is the same with a live policy: it is refreshed, and alerts of failing refreshes go
// on.
func TestRefreshAfterClockIsSetBack(t *testing.T) {
	for _, mends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			file := body("enforce", 30*day, "mx.example.test")
			w.publish("example.test", "1", file)
			s, stop := w.run()
			defer stop()
			wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
			w.set(func() { w.ahead = 20 * day; clear(w.files) })
			pass(3 * time.Hour)
			if w.events("refresh_failing") != 1 {
				t.Fatalf("no refresh has failed while the clock was ahead:\n%s", w.log.String())
			}
			w.set(func() { w.ahead = 0 })
			if mends {
				w.publish("example.test", "1", file)
			}
			w.counts()
			pass(2 * day)
			if _, gets := w.counts(); gets == 0 {
				t.Error("no refresh in the two days after the clock was set right")
			}
			if lines := w.events("refresh_failing"); !mends && lines < 2 {
				t.Errorf("%d lines while refreshes keep failing after the clock was set right", lines)
			}
			if lines := w.events("refresh_recovered"); mends && lines != 1 {
				t.Errorf("%d lines of recovery, want 1", lines)
			}
		})
	}
}

// TestRemovedForRoomStaysAway: a policy that had to go because the store is full is not learnt again until somebody
// asks.
func TestRemovedForRoomStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: w, MaxPolicies: 100})
		defer stop()
		pass(3*time.Hour - 5*minute) // all are learnt before a scan that trusts the clock, and due soon after it
		for i := range 150 {
			domain := fmt.Sprintf("d%d.test", i)
			w.publish(domain, "1", body("enforce", 20*minute, "mx.example.test"))
			wantOutcome(t, "learnt", s, domain, resolver.Enforce)
			pass(time.Second)
		}
		pass(5 * minute)
		if w.events("store_full") != 1 || w.size() < 99 || w.size() > 100 {
			t.Fatalf("%d policies in a store that may hold 100; log:\n%s", w.size(), w.log.String())
		}
		pass(40 * minute)
		if w.size() < 99 || w.size() > 100 || w.events("policy_learnt") != 150 {
			t.Errorf("%d policies, learnt %d times, want 99 or 100, and 150", w.size(), w.events("policy_learnt"))
		}
	})
}

// faulty is an internet in which one domain brings a bug to light.
type faulty struct{ *world }

func (f faulty) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	if domain.String() == "bug.test" {
		panic("a bug in the fetcher")
	}
	return f.world.Fetch(ctx, domain)
}

func (f faulty) MX(ctx context.Context, domain string) (dnsclient.Answer[dnsclient.MX], error) {
	if domain == "lint.test" {
		panic("a bug in the DNS client")
	}
	return f.world.MX(ctx, domain)
}

// TestFaultsCostNothing: a bug that one domain triggers again and again neither ends the daemon nor eats up its slots.
func TestFaultsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("bug.test", "1", body("enforce", day, "mx.example.test"))
		for _, domain := range []string{"lint.test", "good.test"} {
			w.publish(domain, "1", body("enforce", day, "mx.example.test"))
		}
		s, stop := w.runOn(w, resolver.Settings{DNS: faulty{w}, Fetcher: faulty{w}, FetchConcurrency: 2})
		defer stop()
		for range 5 {
			wantOutcome(t, "a fault in the fetcher", s, "bug.test", resolver.Overloaded)
		}
		wantOutcome(t, "a fault in what is done aside", s, "lint.test", resolver.Enforce)
		synctest.Wait()
		wantOutcome(t, "another domain", s, "good.test", resolver.Enforce)
		if n := w.events("panic"); n != 6 {
			t.Errorf("%d lines, want one for each fault:\n%s", n, w.log.String())
		}
	})
}

// slowWalk is a store so large that the walk over it is cut short by the daemon's end.
type slowWalk struct{ *world }

func (slowWalk) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		<-ctx.Done()
		yield(resolver.Entry{}, ctx.Err())
	}
}

func TestEndDuringScanIsNoAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, stop := w.runOn(slowWalk{w}, resolver.Settings{DNS: w, Fetcher: w})
		pass(minute)
		stop()
		if text := w.log.String(); text != "" {
			t.Errorf("the daemon's end made a line: %s", text)
		}
	})
}

// unreadable is a store that cannot be read for a while.
type unreadable struct {
	*world
	broken bool // guarded by world.mu
}

func (u *unreadable) Get(ctx context.Context, domain dnsname.Name) (resolver.Entry, error) {
	u.mu.Lock()
	broken := u.broken
	u.mu.Unlock()
	if broken {
		return resolver.Entry{}, errors.New("input/output error")
	}
	return u.world.Get(ctx, domain)
}

// TestUnreadableStore: what was answered while the store could not be read says nothing of what is in it, and is not
// answered for more than a minute; and a thousand questions do not make a thousand alerts.
func TestUnreadableStore(t *testing.T) {
	for _, c := range []struct {
		why      string
		sabotage func(*world)
		during   resolver.Outcome
	}{
		{"the TXT record is hidden", func(w *world) { clear(w.ids) }, resolver.Absent},
		{"the DNS is mute", func(w *world) { w.mute = true }, resolver.Unknown},
		{"the policy host is down", func(w *world) { clear(w.files) }, resolver.Unfetched},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.ttl = time.Hour
			store := &unreadable{world: w}
			w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
			s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
			wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
			stop()
			s, stop = w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
			defer stop()
			w.set(func() { store.broken = true; c.sabotage(w) })
			for range 4 {
				pass(2 * minute)
				wantOutcome(t, c.why, s, "example.test", c.during)
			}
			for i := range 100 {
				ask(s, fmt.Sprintf("d%d.test", i))
			}
			if n := w.events("store_read_failed"); n != 1 {
				t.Errorf("%d lines, want 1", n)
			}
			w.set(func() { store.broken = false })
			pass(minute + time.Second)
			wantOutcome(t, c.why+", with the store readable again", s, "example.test", resolver.Enforce)
		})
	}
}

// TestClockJumpsDuringScan: a scan that began with a clock to be believed ends no policy by another one.
func TestClockJumpsDuringScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &jumpy{world: w}
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		for i := range 10 {
			domain := fmt.Sprintf("d%d.test", i)
			w.publish(domain, "1", body("enforce", 30*day, "mx.example.test"))
			wantOutcome(t, "learnt", s, domain, resolver.Enforce)
		}
		pass(5 * time.Hour)
		w.set(func() { store.jump = 365 * day })
		pass(time.Hour)
		if w.size() != 10 {
			t.Errorf("%d of 10 policies left after the clock jumped ahead during a scan", w.size())
		}
	})
}

// jumpy is a store during whose walk the clock is set ahead.
type jumpy struct {
	*world
	jump time.Duration // guarded by world.mu
}

func (j *jumpy) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		j.set(func() { j.ahead = j.jump })
		j.world.All(ctx)(yield)
	}
}
