package resolver_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
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
