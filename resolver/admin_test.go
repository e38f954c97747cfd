package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func known(t *testing.T, s *resolver.Service, domain string) resolver.Known {
	t.Helper()
	k, err := s.Admin().Known(t.Context(), dnsname.MustParse(domain))
	if err != nil {
		t.Fatalf("what is known of %s: %v", domain, err)
	}
	return k
}

func question(dane bool) resolver.Question { return resolver.Question{DANE: dane} }

// TestKnown: each thing that can be known of a domain, and what would be answered; to ask changes nothing.
func TestKnown(t *testing.T) {
	for _, c := range []struct {
		why      string
		prepare  func(*world, *resolver.Service)
		live     bool
		inMemory bool
		unsaved  bool
		negative string
		outcome  resolver.Outcome // 0: stsmapd would look
	}{
		{why: "nothing"},
		{why: "a live policy in memory", prepare: func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
			ask(s, "example.test")
		}, live: true, inMemory: true, outcome: resolver.Enforce},
		{why: "a live policy in the store alone", prepare: func(w *world, _ *resolver.Service) {
			w.publish("example.test", "1", body("testing", 7*day, "mx.example.test"))
			other := w.start()
			ask(other, "example.test")
			other.Close()
		}, live: true, outcome: resolver.Testing},
		{why: "a policy that has expired", prepare: func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", time.Hour, "mx.example.test"))
			ask(s, "example.test")
			pass(2 * time.Hour)
		}, inMemory: true},
		{why: "a policy that the disk does not take", prepare: func(w *world, s *resolver.Service) {
			w.set(func() { w.broken = errors.New("no space left on device") })
			w.publish("example.test", "1", body("none", 7*day))
			ask(s, "example.test")
		}, live: true, inMemory: true, unsaved: true, outcome: resolver.None},
		{why: "no policy", prepare: func(_ *world, s *resolver.Service) { ask(s, "example.test") },
			negative: "resolver.NoPolicy", outcome: resolver.Absent},
		{why: "no policy, an hour ago",
			prepare: func(_ *world, s *resolver.Service) { ask(s, "example.test"); pass(time.Hour) }},
		{why: "the DNS is mute", prepare: func(w *world, s *resolver.Service) {
			w.set(func() { w.mute = true })
			ask(s, "example.test")
		}, negative: "*resolver.LookupFailed", outcome: resolver.Unknown},
		{why: "the DNS was mute, and may be asked again", prepare: func(w *world, s *resolver.Service) {
			w.set(func() { w.mute = true })
			ask(s, "example.test")
			pass(2 * minute)
		}, negative: "*resolver.LookupFailed"},
		{why: "the policy host is down", prepare: func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", "")
			ask(s, "example.test")
		}, negative: "*resolver.FetchFailed", outcome: resolver.Unfetched},
		{why: "an override", prepare: func(w *world, s *resolver.Service) {
			s.Reconfigure(resolver.Settings{
				DNS: w, Fetcher: w, Overrides: mustOverrides(t, over("example.test", resolver.ActionIgnore))})
		}, outcome: resolver.Ignored},
		{why: "an override that is strict about a testing policy", prepare: func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("testing", 7*day, "mx.example.test"))
			ask(s, "example.test")
			s.Reconfigure(resolver.Settings{
				DNS: w, Fetcher: w, Overrides: mustOverrides(t, over("example.test", resolver.ActionStrict))})
		}, live: true, inMemory: true, outcome: resolver.Enforce},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.start()
			defer s.Close()
			if c.prepare != nil {
				c.prepare(w, s)
			}
			synctest.Wait()
			w.counts()
			var k resolver.Known
			atOnce(t, c.why, func() { k = known(t, s, "example.test") })
			if k.Live != c.live || k.InMemory != c.inMemory || k.Unsaved != c.unsaved {
				t.Errorf("%s: live %v, in memory %v, unsaved %v, want %v, %v, %v", c.why, k.Live, k.InMemory, k.Unsaved,
					c.live, c.inMemory, c.unsaved)
			}
			negative := ""
			if k.Negative != nil {
				negative = fmt.Sprintf("%T", k.Negative)
			}
			if negative != c.negative {
				t.Errorf("%s: negative %v, want %q", c.why, negative, c.negative)
			}
			v, ok := k.Verdict(question(false))
			if v.Outcome != c.outcome || ok != (c.outcome != 0) {
				t.Errorf("%s: would be answered %v (%v), want %v", c.why, v.Outcome, ok, c.outcome)
			}
			w.want(c.why+": to ask what is known", 0, 0)
			if ok && ask(s, "example.test").Outcome != v.Outcome {
				t.Errorf("%s: answered %v, foretold %v", c.why, ask(s, "example.test").Outcome, v.Outcome)
			}
			if want := c.why == "nothing" || strings.HasSuffix(c.why, "an hour ago"); k.Empty() != want {
				t.Errorf("%s: empty %v, want %v", c.why, k.Empty(), want)
			}
		})
	}
}

// TestKnownTimes: when a policy is looked at next, and when it was used.
func TestKnownTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
		s, stop := w.run()
		defer stop()
		ask(s, "example.test")
		learnt := w.now()
		k := known(t, s, "example.test")
		if due := k.NextRefresh.Sub(learnt); due < 21*time.Hour || due > 27*time.Hour {
			t.Errorf("next refresh in %v, want a day, give or take 10 %%", due)
		}
		if check := k.NextCheck.Sub(learnt); check != 5*minute {
			t.Errorf("next look at the TXT record in %v, want 5 min", check)
		}
		pass(10 * minute)
		ask(s, "example.test")
		used := w.now()
		pass(minute)
		if k = known(t, s, "example.test"); used.Sub(k.Used).Abs() > minute {
			t.Errorf("used %v, want %v", k.Used, used)
		}
		pass(95 * day)
		if k = known(t, s, "example.test"); !k.NextRefresh.IsZero() {
			t.Errorf("not used for 95 days, and still to be refreshed at %v", k.NextRefresh)
		}
		w.set(func() { w.ahead = -100 * day })
		if k = known(t, s, "example.test"); k.Entry == nil || k.Entry.Fetched.After(w.now()) {
			t.Errorf("with the clock set back: %+v, want no time that lies ahead", k.Entry)
		}
	})
}

// TestKnownWithoutStore: what memory knows is told even when the store cannot be read, and the error with it.
func TestKnownWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &unreadable{world: w}
		w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		ask(s, "example.test")
		w.set(func() { store.broken = true })
		k, err := s.Admin().Known(t.Context(), dnsname.MustParse("example.test"))
		if err == nil || !k.Live {
			t.Errorf("live %v, %v, want what memory knows and the store's error", k.Live, err)
		}
		if _, err := s.Admin().Forget(t.Context(), dnsname.MustParse("example.test")); err == nil {
			t.Error("forgotten without a look into the store")
		}
		wantOutcome(t, "after a Forget that failed", s, "example.test", resolver.Enforce)
	})
}

// TestKnownBesideTheStore: what was answered while the store could not be read stands for a minute, and is what Known
// foretells.
func TestKnownBesideTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &unreadable{world: w}
		w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		ask(s, "example.test")
		stop()
		w.publish("example.test", "", "")
		s, stop = w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		w.set(func() { store.broken = true })
		wantOutcome(t, "while the store cannot be read", s, "example.test", resolver.Absent)
		w.set(func() { store.broken = false })
		for _, want := range []resolver.Outcome{resolver.Absent, resolver.Enforce} {
			k := known(t, s, "example.test")
			if v, ok := k.Verdict(question(false)); !ok || v.Outcome != want || !k.Live {
				t.Errorf("foretold %v (%v), want %v", v.Outcome, ok, want)
			}
			wantOutcome(t, "after Known", s, "example.test", want)
			pass(minute + time.Second)
		}
	})
}

// TestEntries: every policy once, with memory's newer marks, and those that wait for the disk.
func TestEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &fullDisk{world: w}
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		for i := range 20 {
			w.publish(fmt.Sprintf("d%d.test", i), "1", body("enforce", 30*day, "mx.example.test"))
			if i == 10 {
				pass(2 * day) // the first ten are refreshed
				w.set(func() { store.full = true })
				pass(2 * day) // and again, in memory alone
			}
			ask(s, fmt.Sprintf("d%d.test", i))
		}
		ask(s, "absent.test")
		seen := map[string]resolver.Known{}
		for k, err := range s.Admin().Entries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := seen[k.Domain.String()]; twice {
				t.Errorf("%v twice", k.Domain)
			}
			seen[k.Domain.String()] = k
		}
		if len(seen) != 20 {
			t.Errorf("%d entries, want 20", len(seen))
		}
		for domain, k := range seen {
			if age := w.now().Sub(k.Entry.Fetched); !k.Live || !k.Unsaved || age > 27*time.Hour {
				t.Errorf("%s: live %v, unsaved %v, fetched %v ago, want the newest, which the disk does not have",
					domain, k.Live, k.Unsaved, age)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for range s.Admin().Entries(ctx) {
			n++
			cancel()
		}
		if n == 20 {
			t.Error("a walk goes on though its context has ended")
		}
	})
}

func TestEntriesTellWhatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, stop := w.runOn(slowWalk{w}, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var errs []error
		for _, err := range s.Admin().Entries(ctx) {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], context.DeadlineExceeded) {
			t.Errorf("%v, want the store's error", errs)
		}
	})
}

// TestStatus counts what is there, waits and is under way.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &fullDisk{world: w}
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		for domain, file := range map[string]string{
			"enforce.test": body("enforce", 7*day, "mx.example.test"),
			"testing.test": body("testing", 7*day, "mx.example.test"),
			"none.test":    body("none", 7*day), "short.test": body("enforce", minute, "mx.example.test"),
			"absent.test": "",
		} {
			if file != "" {
				w.publish(domain, "1", file)
			}
			ask(s, domain)
		}
		pass(2 * minute)
		w.publish("enforce.test", "1", "")
		_, _ = s.Admin().Refresh(t.Context(), dnsname.MustParse("enforce.test"))
		want := resolver.Status{
			Activity: resolver.Activity{Negatives: 1}, Stored: 4}
		if got := s.Admin().Status(); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		w.set(func() { store.full = true; w.delay = 10 * time.Second })
		w.publish("new.test", "1", body("enforce", 7*day, "mx.example.test"))
		go ask(s, "new.test")
		pass(15 * time.Second)
		if got := s.Admin().Status(); got.Lookups != 1 || got.Fetches != 1 {
			t.Errorf("in a fetch: %+v", got)
		}
		pass(10 * time.Second)
		if got := s.Admin().Status(); got.Unsaved != 1 || !got.Failing || got.Lookups != 0 || got.Fetches != 0 {
			t.Errorf("after the fetch, on a full disk: %+v", got)
		}
		w.set(func() { w.delay = 0 })
		pass(26 * time.Hour)
		if got := s.Admin().Status(); got.Refreshes == 0 {
			t.Errorf("after a day: %+v, want refreshes", got)
		}
	})
}
