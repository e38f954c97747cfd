package resolver_test

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
)

// TestRenewedStore: when the store has lost what it had, it gets all live policies of the memory again, also if it
// cannot be written at first; what it has keeps as it is.
func TestRenewedStore(t *testing.T) {
	for _, c := range []struct {
		why    string
		broken error
	}{{"it can be written", nil}, {"it cannot at first", errors.New("disk full")}} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				renewed := make(chan struct{}, 1)
				s := resolver.NewService(resolver.Options{
					DANEMemory: &memorytest.Findings{}, Now: w.now,
					Settings: resolver.Settings{DNS: w, Fetcher: w}, Store: w, Renewed: renewed,
					Memory: memorytest.New(),
					Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
				})
				defer runUpkeep(s)()
				for domain, mode := range map[string]string{
					"a.test": "enforce", "b.test": "testing", "c.test": "none"} {
					w.publish(domain, "1", body(mode, 30*day, "mx.example.test"))
					ask(s, domain)
				}
				w.publish("brief.test", "1", body("enforce", time.Minute, "mx.example.test"))
				ask(s, "brief.test")
				pass(time.Hour)
				w.set(func() { clear(w.stored); w.broken = c.broken })
				renewed <- struct{}{}
				synctest.Wait()
				w.set(func() { w.broken = nil })
				pass(time.Minute)
				synctest.Wait()
				for _, domain := range []string{"a.test", "b.test", "c.test"} {
					if !w.holds(domain) {
						t.Errorf("%s is not in the store again", domain)
					}
				}
				if w.holds("brief.test") {
					t.Error("a policy that is over is in the store again")
				}
			})
		})
	}
}
