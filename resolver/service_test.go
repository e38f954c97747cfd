package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

func ask(s *resolver.Service, domain string) resolver.Verdict {
	return s.Answer(context.Background(),
		resolver.Question{Destination: dane.Destination{Domain: dnsname.MustParse(domain)}})
}

func wantOutcome(t *testing.T, why string, s *resolver.Service, domain string, want resolver.Outcome) resolver.Verdict {
	t.Helper()
	v := ask(s, domain)
	if v.Outcome != want {
		t.Errorf("%s: %v, want %v (%v)", why, v.Outcome, want, v.Reason)
	}
	return v
}

// atOnce fails unless f takes no time at all of the bubble's clock: it waits for no network.
func atOnce(t *testing.T, why string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took != 0 {
		t.Errorf("%s: took %v, must answer from memory", why, took)
	}
}

func TestOneLookupForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = time.Second
		w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() { wantOutcome(t, "one of 200 at once", s, "example.test", resolver.Enforce) })
		}
		all.Wait()
		w.want("200 questions at once for one new domain", 1, 1)
	})
}

func TestLivePolicyOutlivesFailures(t *testing.T) {
	t.Parallel()
	invalid := body("enforce", 7*day) // no mx
	for _, c := range []struct {
		why      string
		sabotage func(*world)
		fetched  bool // the file can still be fetched, so that the policy is refreshed
	}{
		{"TXT record gone", func(w *world) { delete(w.ids, "example.test") }, true},
		{"DNS mute", func(w *world) { w.mute = true }, true},
		{"HTTPS down", func(w *world) { delete(w.files, "example.test") }, false},
		{"HTTPS down and a new id", func(w *world) { delete(w.files, "example.test"); w.ids["example.test"] = "2" },
			false},
		{"a new id with an invalid file",
			func(w *world) { w.files["example.test"] = invalid; w.ids["example.test"] = "2" }, false},
		{"all of it gone", func(w *world) { delete(w.ids, "example.test"); delete(w.files, "example.test") }, false},
		{"a broken TXT record", func(w *world) { w.ids["example.test"] = "not/valid" }, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.delay = 2 * time.Second
			w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
			s, stop := w.run()
			defer stop()
			wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
			w.set(func() { c.sabotage(w) })
			for range 6*24*6 + 12 { // six days and two hours, a question every ten minutes
				pass(10 * minute)
				atOnce(t, c.why, func() { wantOutcome(t, c.why, s, "example.test", resolver.Enforce) })
			}
			pass(23 * time.Hour) // the seventh day is over
			v := ask(s, "example.test")
			if enforced := v.Outcome == resolver.Enforce; enforced != c.fetched {
				t.Errorf("%s: enforced %v after %v: %v", c.why, 7*day, enforced, v.Outcome)
			}
		})
	}
}

func TestNewID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ttl = time.Second
		w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.want("first contact", 1, 1)
		for range 600 {
			pass(time.Second)
			wantOutcome(t, "unchanged id", s, "example.test", resolver.Enforce)
		}
		synctest.Wait()
		if txts, gets := w.counts(); gets != 0 || txts < 100 || txts > 120 {
			t.Errorf("600 questions in 10 minutes under an unchanged id with a TTL of 1 s: %d TXT lookups and %d "+
				"GETs, want 120 at most and 0", txts, gets)
		}
		w.publish("example.test", "2", body("testing", 7*day, "mx.example.test"))
		for i := range 10 {
			pass(time.Second)
			if ask(s, "example.test").Outcome == resolver.Testing {
				break
			}
			if i == 9 {
				t.Error("a new id is not served within 10 s of repeated questions")
			}
		}
	})
}

func TestBackoffOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ttl = 10 * time.Second
		w.publish("example.test", "1", "")
		s := w.start()
		defer s.Close()
		wantOutcome(t, "first contact", s, "example.test", resolver.Unfetched)
		w.want("first contact", 1, 1)
		begin := time.Now()
		for _, c := range []struct {
			until time.Duration
			gets  int
		}{{5*minute - time.Second, 0}, {10 * minute, 1}, {24 * time.Hour, 25}} {
			for time.Since(begin) < c.until {
				pass(time.Second)
				if v := ask(s, "example.test"); v.Outcome != resolver.Unfetched || v.Reason == nil {
					t.Fatalf("while the fetch fails: %v (%v)", v.Outcome, v.Reason)
				}
			}
			// 5, 10, 20, 40 minutes, then every hour.
			if _, gets := w.counts(); gets != c.gets {
				t.Errorf("by %v: %d GETs more, want %d", c.until, gets, c.gets)
			}
		}
		w.publish("example.test", "2", body("enforce", day, "mx.example.test"))
		pass(10 * time.Second)
		wantOutcome(t, "a new id is tried at once", s, "example.test", resolver.Enforce)
		if w.events("fetch_failed") != 1 {
			t.Errorf("%d lines about a day of one failure, want 1", w.events("fetch_failed"))
		}
	})
}

func TestBackoffOfLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mute = true
		s := w.start()
		defer s.Close()
		for range 3600 {
			if v := ask(s, "example.test"); v.Outcome != resolver.Unknown || !errors.Is(v.Reason, errMute) {
				t.Fatalf("while the DNS is mute: %v (%v)", v.Outcome, v.Reason)
			}
			pass(time.Second)
		}
		w.want("an hour of questions with a mute DNS", 7, 0) // at 0, 1, 3, 7, 15, 30, 45 minutes
		w.set(func() { w.mute = false })
		pass(15 * minute)
		wantOutcome(t, "the DNS is back", s, "example.test", resolver.Absent)
	})
}

func TestNegativeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ttl = 10 * minute
		s := w.start()
		defer s.Close()
		for range 599 {
			wantOutcome(t, "no policy", s, "example.test", resolver.Absent)
			pass(time.Second)
		}
		w.want("ten minutes of questions for a domain without policy", 1, 0)
		w.publish("example.test", "1", body("enforce", day, "mx.example.test"))
		pass(2 * time.Second)
		wantOutcome(t, "a policy appears", s, "example.test", resolver.Enforce)
	})
}

func TestModeNoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 30*day, "mx.example.test"))
		s, stop := w.run()
		defer stop()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.publish("example.test", "2", body("none", day))
		pass(6 * minute)
		ask(s, "example.test")
		synctest.Wait()
		wantOutcome(t, "mode none replaces", s, "example.test", resolver.None)
		pass(time.Hour)
		if w.size() != 1 {
			t.Error("mode none must be remembered while its TXT record stands")
		}
		w.publish("example.test", "", "")
		ask(s, "example.test")
		synctest.Wait()
		wantOutcome(t, "TXT record gone", s, "example.test", resolver.Absent)
		if w.size() != 0 {
			t.Error("mode none without its TXT record must be forgotten")
		}
	})
}

func TestTinyMaxAge(t *testing.T) {
	for _, maxAge := range []time.Duration{0, time.Second, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("example.test", "1", body("enforce", maxAge, "mx.example.test"))
			s, stop := w.run()
			defer stop()
			wantOutcome(t, "the delivery that waited for the fetch", s, "example.test", resolver.Enforce)
			w.counts()
			pass(day)
			w.want(fmt.Sprintf("a day without questions, max_age %v", maxAge), 0, 0)
			w.set(func() { w.mute = true })
			wantOutcome(t, "expired, and nothing to be learnt", s, "example.test", resolver.Unknown)
		})
	}
}

func TestCloseNeverSaysNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = 20 * time.Second
		w.publish("example.test", "1", body("enforce", day, "mx.example.test"))
		s := w.start()
		var asked sync.WaitGroup
		for i := range 50 {
			asked.Go(func() {
				wantOutcome(t, "in flight at the end", s, fmt.Sprintf("d%d.test", i%5),
					resolver.Closing)
			})
		}
		pass(time.Second)
		s.Close()
		asked.Wait()
		wantOutcome(t, "after the end", s, "example.test", resolver.Closing)
	})
}

func TestQuestionsNeverOutwaitPostfix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = time.Hour // a DNS client that does not even keep its own limits
		s := w.start()
		defer s.Close()
		begin := time.Now()
		v := ask(s, "example.test")
		if v.Outcome != resolver.Overloaded && v.Outcome != resolver.Unknown {
			t.Errorf("a lookup that never ends: %v", v.Outcome)
		}
		if took := time.Since(begin); took > 95*time.Second {
			t.Errorf("the answer took %v, Postfix waits 100 s", took)
		}
	})
}
