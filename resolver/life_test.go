package resolver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestYear is a year of a policy's life: learnt, refreshed daily, changed, through outages, withdrawn.
func TestYear(t *testing.T) {
	t.Parallel()
	year := testkit.Sample(t, "days of a policy's life", 365, 150)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const maxAge = 14 * day
		w.publish("example.test", "1", body("enforce", maxAge, "mx.example.test"))
		s, stop := w.run()
		defer stop()
		begin := time.Now()
		// live lets days go by, with a question each hour that must be answered so, at once.
		live := func(why string, days int, want resolver.Outcome) {
			t.Helper()
			for range days * 24 {
				pass(time.Hour)
				atOnce(t, why, func() { wantOutcome(t, why, s, "example.test", want) })
			}
			synctest.Wait()
		}
		// check lets one question set off a look at the TXT record.
		check := func() {
			pass(time.Hour)
			ask(s, "example.test")
			synctest.Wait()
		}
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.want("learnt", 1, 1)

		live("100 quiet days", 100, resolver.Enforce)
		txts, gets := w.counts()
		if gets < 90 || gets > 112 {
			t.Errorf("100 days: %d GETs, want one each 21.6 to 26.4 hours", gets)
		}
		if txts < 100*24 || txts > 100*24+gets {
			t.Errorf("100 days: %d TXT lookups, want one for each hourly question and each refresh, less where these "+
				"fall together", txts)
		}

		w.publish("example.test", "2", body("testing", maxAge, "mx.example.test"))
		check()
		live("a new id", 10, resolver.Testing)
		w.publish("example.test", "3", body("enforce", maxAge, "mx.example.test", "*.example.net"))
		check()
		live("and another", 10, resolver.Enforce)

		w.set(func() { w.mute = true; delete(w.files, "example.test") })
		w.counts()
		live("an outage of 3 days", 3, resolver.Enforce)
		if _, gets := w.counts(); gets < 45 || gets > 80 {
			t.Errorf("an outage of 3 days: %d GETs, want about one an hour after the first day", gets)
		}
		if n := w.events("refresh_failing"); n < 2 || n > 4 {
			t.Errorf("an outage of 3 days made %d lines, want one when it begins and one a day", n)
		}
		w.set(func() { w.mute = false })
		w.publish("example.test", "3", body("enforce", maxAge, "mx.example.test", "*.example.net"))
		live("recovery", 2, resolver.Enforce)
		if n := w.events("refresh_recovered"); n != 1 {
			t.Errorf("recovery made %d lines, want 1", n)
		}

		w.set(func() { w.mute = true; delete(w.files, "example.test") })
		live("an outage longer than max_age, up to its end", 12, resolver.Enforce)
		pass(3 * day)
		wantOutcome(t, "an outage longer than max_age", s, "example.test", resolver.Unknown)
		w.set(func() { w.mute = false })
		w.publish("example.test", "3", body("enforce", maxAge, "mx.example.test"))
		pass(15 * minute)
		wantOutcome(t, "the first question after it", s, "example.test", resolver.Enforce)

		w.publish("example.test", "4", body("none", day))
		check()
		live("mode none", 5, resolver.None)
		w.publish("example.test", "", "")
		check()
		w.counts()
		for time.Since(begin) < time.Duration(year)*day {
			pass(time.Hour)
			wantOutcome(t, "withdrawn", s, "example.test", resolver.Absent)
		}
		if _, gets := w.counts(); gets != 0 {
			t.Errorf("%d GETs for a policy that is withdrawn", gets)
		}
		if n := w.events("policy_learnt"); n != 2 {
			t.Errorf("a year made %d lines of policies learnt, want 2", n)
		}
	})
}

// TestBodyChangedUnderTheSameID: many publishers forget the id (RFC 8461 section 8.1).
func TestBodyChangedUnderTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 30*day, "mx.example.test"))
		s, stop := w.run()
		defer stop()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		pass(time.Hour)
		w.publish("example.test", "1", body("testing", 30*day, "mx.example.test"))
		pass(26*time.Hour + 24*minute - time.Hour) // 24 h and 10 %
		atOnce(t, "the new body",
			func() { wantOutcome(t, "after the next refresh", s, "example.test", resolver.Testing) })
	})
}

// TestRefreshesOnlyWhatIsUsed: a policy that nobody asks for is let go after 90 days, and what was known of its use
// survives restarts.
func TestRefreshesOnlyWhatIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 10*day, "mx.example.test"))
		s, stop := w.run()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		pass(50 * day)
		wantOutcome(t, "used again", s, "example.test", resolver.Enforce)
		pass(2 * day)
		stop()
		_, stop = w.run()
		defer func() { stop() }()
		w.counts()
		pass(80 * day)
		if _, gets := w.counts(); gets < 72 {
			t.Errorf("%d GETs in 80 days, want one a day: the last use was within 90 days", gets)
		}
		pass(12 * day)
		w.counts()
		pass(30 * day)
		w.want("not used for more than 90 days", 0, 0)
		if w.size() != 0 {
			t.Error("the policy has expired unused, and must be removed from the store")
		}
	})
}

// TestArrears: many policies due at once neither burst nor hold up questions.
func TestArrears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = 100 * time.Millisecond
		const policies = 5000
		for i := range policies {
			w.publish(fmt.Sprintf("d%d.test", i), "1", body("enforce", 60*day, "mx.example.test"))
		}
		now := time.Now().UTC().Round(0)
		for i := range policies {
			domain := dnsname.MustParse(fmt.Sprintf("d%d.test", i))
			p, _ := w.Fetch(t.Context(), domain)
			w.stored[domain] = resolver.Entry{Domain: domain, ID: "1", Policy: p, Fetched: now, Checked: now, Used: now}
		}
		pass(7 * day) // off
		s, stop := w.run()
		defer stop()
		w.counts()
		most := 0
		for range 90 {
			pass(time.Second)
			_, gets := w.counts()
			most = max(most, gets)
			atOnce(t, "a question meanwhile", func() { wantOutcome(t, "meanwhile", s, "d4999.test", resolver.Enforce) })
		}
		if most > 55 || most < 40 {
			t.Errorf("up to %d refreshes a second, want 50", most)
		}
		pass(20 * minute)
		w.counts()
		pass(10 * time.Hour)
		if _, gets := w.counts(); gets != 0 {
			t.Errorf("%d refreshes of policies that were just refreshed", gets)
		}
	})
}

func TestExpiredAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", day, "mx.example.test"))
		s, stop := w.run()
		defer stop()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.publish("example.test", "", "")
		pass(23 * time.Hour)
		if w.size() != 1 {
			t.Error("removed before its time")
		}
		pass(3 * time.Hour)
		if w.size() != 0 {
			t.Error("an expired policy stays in the store")
		}
	})
}

func TestStoreBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, stop := w.run()
		defer stop()
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, MaxPolicies: 100})
		for i := range 150 {
			w.publish(fmt.Sprintf("d%d.test", i), "1", body("enforce", 30*day, "mx.example.test"))
			wantOutcome(t, "learnt", s, fmt.Sprintf("d%d.test", i), resolver.Enforce)
			pass(2 * minute)
		}
		pass(time.Hour)
		if w.size() > 100 || w.size() < 99 {
			t.Errorf("%d policies in a store that may hold 100", w.size())
		}
		for i := 51; i < 150; i++ {
			if !w.holds(fmt.Sprintf("d%d.test", i)) {
				t.Errorf("d%d.test is gone, though others were unused for longer", i)
			}
		}
		if n := w.events("store_full"); n == 0 {
			t.Error("reaching the limit made no line")
		}
	})
}

func TestMXLint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mx["bad.test"] = "mail.elsewhere.test"
		w.publish("bad.test", "1", body("enforce", day, "mx.example.test"))
		w.publish("good.test", "1", body("enforce", day, "mx.example.test"))
		w.publish("trial.test", "1", body("testing", day, "mx2.example.test"))
		s := w.start()
		defer s.Close()
		for _, domain := range []string{"bad.test", "good.test", "trial.test"} {
			ask(s, domain)
		}
		synctest.Wait()
		if n := w.events("mx_mismatch"); n != 1 ||
			!strings.Contains(w.log.String(), "event=mx_mismatch domain=bad.test mx_hosts=mail.elsewhere.test") {
			t.Errorf("%d lines, want one for bad.test: %s", n, w.log.String())
		}
	})
}

// TestDiskTrouble: answers go on from memory, with one alert, and what was learnt meanwhile is written afterwards.
func TestDiskTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.broken = errors.New("no space left on device")
		s, stop := w.run()
		defer stop()
		for i := range 10 {
			domain := fmt.Sprintf("d%d.test", i)
			w.publish(domain, "1", body("enforce", 7*day, "mx.example.test"))
			wantOutcome(t, "learnt on a full disk", s, domain, resolver.Enforce)
		}
		w.set(func() { w.mute = true })
		pass(10 * minute)
		for i := range 10 {
			wantOutcome(t, "remembered on a full disk", s, fmt.Sprintf("d%d.test", i), resolver.Enforce)
		}
		if n := w.events("store_write_failed"); n != 1 {
			t.Errorf("%d alerts, want 1", n)
		}
		w.set(func() { w.broken = nil })
		pass(31 * time.Second)
		if w.size() != 10 || w.events("store_recovered") != 1 {
			t.Errorf("%d policies written after the disk recovered, want 10; %d lines, want 1", w.size(),
				w.events("store_recovered"))
		}
	})
}

func TestClockSteps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why  string
		step time.Duration
	}{
		{"back a day", -day}, {"back a year", -365 * day}, {"forward a day", day}, {"forward a year", 365 * day},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			const maxAge = 10 * day
			w.publish("example.test", "1", body("enforce", maxAge, "mx.example.test"))
			s, stop := w.run()
			defer stop()
			wantOutcome(t, c.why+", before", s, "example.test", resolver.Enforce)
			wantOutcome(t, c.why+", before", s, "absent.test", resolver.Absent)
			w.set(func() { w.ahead = c.step })
			wantOutcome(t, c.why+", just after", s, "example.test", resolver.Enforce)
			w.counts()
			for range 3600 {
				pass(time.Second)
				wantOutcome(t, c.why+", the hour after", s, "example.test", resolver.Enforce)
				wantOutcome(t, c.why+", the hour after", s, "absent.test", resolver.Absent)
			}
			if txts, gets := w.counts(); txts > 30 || gets > 2 {
				t.Errorf("%s: a storm of %d lookups and %d GETs in an hour", c.why, txts, gets)
			}
			w.set(func() { w.mute = true; clear(w.files) })
			pass(maxAge + day)
			if v := ask(s, "example.test"); v.Outcome == resolver.Enforce {
				t.Errorf("%s: immortal: enforced %v after the last fetch", c.why, maxAge+day)
			}
		})
	}
}

// TestClockSetBackDuringLookup: a lookup that began in the wrong year and ends in the right one finds the policy alive.
func TestClockSetBackDuringLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 30*day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.set(func() { w.mute, w.delay, w.ahead = true, time.Second, 365*day })
		time.AfterFunc(time.Second/2, func() { w.set(func() { w.ahead = 0 }) })
		wantOutcome(t, "the clock was set back meanwhile", s, "example.test", resolver.Enforce)
		wantOutcome(t, "after that", s, "example.test", resolver.Enforce)
	})
}

// TestClockTrip: a clock that jumps ahead for an hour ends no policy.
func TestClockTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 30*day, "mx.example.test"))
		s, stop := w.run()
		defer stop()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.set(func() { w.mute = true; clear(w.files); w.ahead = 365 * day })
		pass(5 * time.Hour)
		wantOutcome(t, "in the wrong year, with all else down", s, "example.test", resolver.Enforce)
		w.set(func() { w.ahead = 0 })
		wantOutcome(t, "back in the right one", s, "example.test", resolver.Enforce)
	})
}

// TestClockJumpEndsNothing: the wall clock is set 8 days ahead of policies that end in 7, the TXT records are
// suppressed and the policy hosts are down. The policies are answered, also those that are in the store alone, and
// fetched again as soon as that is possible; they end when the time of their max_age has really gone by.
func TestClockJumpEndsNothing(t *testing.T) {
	t.Parallel()
	for _, reachable := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s, stop := w.run()
			for i := range 20 {
				w.learn(s, fmt.Sprintf("d%d.test", i), body("enforce", 7*day, "mx.example.test"))
			}
			stop()
			s, stop = w.run()
			defer stop()
			pass(3 * time.Hour)
			for i := range 10 {
				wantOutcome(t, "before", s, fmt.Sprintf("d%d.test", i), resolver.Enforce)
			}
			w.set(func() {
				w.ahead = 8 * day
				clear(w.ids)
				if !reachable {
					clear(w.files)
				}
			})
			w.counts()
			for i := range 20 {
				wantOutcome(t, "just after the jump", s, fmt.Sprintf("d%d.test", i), resolver.Enforce)
			}
			// One that finds no free slot is tried again. One whose TXT record was looked at just before has no look
			// with the next question: the next walk over the store finds it.
			pass(90 * minute)
			if _, gets := w.counts(); gets < 20 && reachable {
				t.Errorf("%d policies were fetched after the jump", gets)
			}
			pass(2 * day) // the clock is trusted again
			for i := range 20 {
				wantOutcome(t, "two days later", s, fmt.Sprintf("d%d.test", i), resolver.Enforce)
			}
			w.set(func() { clear(w.files) })
			pass(8 * day)
			for i := range 20 {
				wantOutcome(t, "when all its time is over", s, fmt.Sprintf("d%d.test", i), resolver.Absent)
			}
			if n := w.events("clock_jumped"); n != 1 {
				t.Errorf("%d lines about the jump, want 1", n)
			}
		})
	}
}
