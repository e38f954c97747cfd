package resolver_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// TestDoubtful: what was saved from a damaged store where it may not have been the last is answered only after a look
// at the network, and if that fails.
func TestDoubtful(t *testing.T) {
	file := body("enforce", 30*day, "old.example.test")
	for _, c := range []struct {
		why     string
		publish func(*world)
		want    resolver.Outcome
		mx      string
		gets    int
	}{
		{"a newer one is published",
			func(w *world) { w.publish("example.test", "2", body("enforce", 30*day, "new.example.test")) },
			resolver.Enforce, "new.example.test", 1},
		{"it was the last", func(w *world) { w.publish("example.test", "1", file) }, resolver.Enforce,
			"old.example.test", 1},
		{"the domain has opted out", func(w *world) { w.publish("example.test", "2", body("none", day)) },
			resolver.None, "", 1},
		{"the DNS fails", func(w *world) { w.mute = true }, resolver.Enforce, "old.example.test", 1},
		{"the policy host fails", func(w *world) { w.publish("example.test", "2", "") }, resolver.Enforce,
			"old.example.test", 1},
		{"the TXT record is gone", func(w *world) {}, resolver.Enforce, "old.example.test", 1},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				policy, err := mtasts.ParsePolicy([]byte(file))
				if err != nil {
					t.Fatal(err)
				}
				domain, now := dnsname.MustParse("example.test"), time.Now().UTC().Round(0)
				w.stored[domain] = resolver.Entry{
					Domain: domain, ID: "1", Policy: policy, Fetched: now.Add(-day), Used: now.Add(-day)}
				c.publish(w)
				s := w.start()
				defer s.Close()
				for range 2 {
					v := wantOutcome(t, c.why, s, "example.test", c.want)
					if c.mx != "" && (v.Policy == nil || v.Policy.Entry().Policy.MX()[0].Host.String() != c.mx) {
						t.Errorf("answered %+v, want the policy of %s", v, c.mx)
					}
				}
				if _, gets := w.counts(); gets != c.gets {
					t.Errorf("%d fetches, want %d", gets, c.gets)
				}
				if e := w.stored[domain]; e.Doubtful() {
					t.Errorf("still in doubt: %+v", e)
				}
			})
		})
	}
}
