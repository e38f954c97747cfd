package resolver_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestPolicyChangeIsLogged: with the old and the new mode and MX; a warning where protection ends, and no line where
// only the id changes.
func TestPolicyChangeIsLogged(t *testing.T) {
	const enforce, testing_, none = "enforce", "testing", "none"
	for _, c := range []struct {
		why           string
		before, after string
		want          string // of the line; "": none
	}{
		{"another id alone", body(enforce, 7*day, "a.example.test"), body(enforce, 7*day, "a.example.test"), ""},
		{"other hosts", body(enforce, 7*day, "a.example.test"), body(enforce, 7*day, "b.example.test"),
			`level=INFO msg="policy changed" event=policy_changed old_mode=enforce old_mx=[a.example.test] ` +
				`domain=example.test mode=enforce id=2 max_age=168h0m0s mx=[b.example.test]`},
		{"enforced at last", body(testing_, 7*day, "a.example.test"), body(enforce, 7*day, "a.example.test"),
			`level=INFO msg="policy changed" event=policy_changed old_mode=testing `},
		{"protection ends", body(enforce, 7*day, "a.example.test"), body(testing_, 7*day, "a.example.test"),
			`level=WARN msg="policy changed from mode enforce to testing: mail to the domain is no longer protected`},
		{"protection ends for good", body(enforce, 7*day, "a.example.test"), body(none, 7*day),
			`level=WARN msg="policy changed from mode enforce to none: mail to the domain is no longer protected`},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("example.test", "1", c.before)
			s, stop := w.run()
			defer stop()
			ask(s, "example.test")
			pass(10 * minute)
			w.publish("example.test", "2", c.after)
			ask(s, "example.test")
			synctest.Wait()
			log := w.log.String()
			if n := min(1, len(c.want)); w.events("policy_changed") != n || !strings.Contains(log, c.want) {
				t.Errorf("%s: want %d line with %s\n%s", c.why, n, c.want, log)
			}
		})
	}
}

// TestReloadForgetsFailures: a reload that changes what lookups and fetches go by makes the next question look again;
// another one does not.
func TestReloadForgetsFailures(t *testing.T) {
	good := body("enforce", 7*day, "a.example.test")
	for _, c := range []struct {
		why     string
		network uint64
		fails   func(*world)
		mends   func(*world)
		before  resolver.Outcome
	}{
		{"a fetch, and another CA", 1, func(w *world) { w.publish("example.test", "1", "") },
			func(w *world) { w.publish("example.test", "1", good) }, resolver.Unfetched},
		{"a lookup, and other servers", 1,
			func(w *world) {
				w.publish("example.test", "1", good)
				w.set(func() { w.mute = true })
			},
			func(w *world) { w.set(func() { w.mute = false }) }, resolver.Unknown},
		{"a fetch, and an override", 0, func(w *world) { w.publish("example.test", "1", "") },
			func(w *world) { w.publish("example.test", "1", good) }, resolver.Unfetched},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			c.fails(w)
			s := w.start()
			defer s.Close()
			wantOutcome(t, c.why, s, "example.test", c.before)
			c.mends(w)
			pass(time.Second)
			wantOutcome(t, c.why+", before the reload", s, "example.test", c.before)
			s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, Network: c.network})
			want := c.before
			if c.network != 0 {
				want = resolver.Enforce
			}
			wantOutcome(t, c.why+", after the reload", s, "example.test", want)
		})
	}
}

// TestReloadRetriesRefreshes: a live policy whose fetches have failed is fetched again at once after a reload that
// changes what fetches go by, whatever the backoff says, and not after another one.
func TestReloadRetriesRefreshes(t *testing.T) {
	good := body("enforce", 60*day, "a.example.test")
	for _, c := range []struct {
		why     string
		network uint64
		restart bool // the policy is in the store alone
		file    string
		id      string
		soon    int // fetches within a minute
		later   int // and in the 4 minutes after it
		failing bool
	}{
		{"another CA mends it", 1, false, good, "1", 1, 0, false},
		{"a policy that nobody has asked for since the start", 1, true, good, "1", 1, 0, false},
		{"under a new id", 1, false, good, "2", 1, 0, false},
		{"it does not help: the backoff counts on", 1, false, "", "1", 1, 0, true},
		{"an override", 0, false, good, "1", 0, 0, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("example.test", "1", good)
			s, stop := w.run()
			ask(s, "example.test")
			pass(day / 2)
			w.publish("example.test", "1", "")
			pass(day) // by now the backoff is an hour
			if c.restart {
				stop()
				s, stop = w.run()
			}
			defer stop()
			w.counts()
			for gets, limit := 0, 70; gets == 0 && limit > 0; limit-- { // to the beginning of a backoff
				pass(minute)
				_, gets = w.counts()
			}
			w.publish("example.test", c.id, c.file)
			s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, Network: c.network})
			pass(minute)
			if _, gets := w.counts(); gets != c.soon {
				t.Errorf("%s: %d fetches within a minute, want %d", c.why, gets, c.soon)
			}
			pass(4 * minute)
			if _, gets := w.counts(); gets != c.later {
				t.Errorf("%s: %d fetches in the next 4 minutes, want %d", c.why, gets, c.later)
			}
			k, err := s.Admin().Known(t.Context(), dnsname.MustParse("example.test"))
			if err != nil || !k.Live || (k.Entry.Failures.Count > 0) != c.failing {
				t.Errorf("%s: %+v, %v", c.why, k.Entry, err)
			}
			wantOutcome(t, c.why, s, "example.test", resolver.Enforce)
		})
	}
}
