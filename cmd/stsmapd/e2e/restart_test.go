package e2e

import (
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// soon is how soon after its first answer a daemon is ended: too soon for anything but what was done before the answer.
// A round in which the machine was too busy for that says less, and another is made.
const soon = 50 * time.Millisecond

// TestPoliciesSurvive ends a daemon repeatedly right after it has answered for a new domain, whose DNS and HTTPS
// are dead from then on. The next daemon must know that policy and all before it.
func TestPoliciesSurvive(t *testing.T) {
	w := world.Open(t)
	rounds := testkit.Sample(t, "restarts", 100, 20)
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 0}, {syscall.SIGKILL, -1}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			t.Parallel()
			config := world.DaemonConfig{
				Inet:     netip.AddrPortFrom(w.Host(), 8461),
				Unix:     filepath.Join(t.TempDir(), "sts.sock"), // a killed daemon leaves it behind
				StateDir: t.TempDir(),
			}
			d := w.StartDaemon(t, config)
			learnt := make(map[string]string, rounds)
			for inTime := 0; inTime < rounds; {
				domain := w.Domain("survive")
				domain.Publish(t, "1", world.Text("enforce", "mx1."+domain.Name))
				answer := d.Ask(t, "postfix", domain.Name)
				answered := time.Now()
				d.Signal(t, c.signal)
				if time.Since(answered) <= soon {
					inTime++
				} else if len(learnt) > 10*rounds {
					t.Fatalf("only %d of %d signals went out within %v of the answer", inTime, len(learnt), soon)
				}
				if code := d.Wait(t); code != c.code {
					t.Fatalf("exit code %d, want %d; log:\n%s", code, c.code, d.Log)
				}
				if want := "OK secure match=mx1." + domain.Name + " servername=hostname"; answer != want {
					t.Fatalf("first answer %q, want %q; log:\n%s", answer, want, d.Log)
				}
				learnt[domain.Name] = answer
				domain.Die()

				d = w.StartDaemon(t, config)
				for _, listener := range d.Listeners() {
					ask := d.Asker(t, listener)
					for name, want := range learnt {
						if got := ask("postfix", name); got != want {
							t.Fatalf("after %d times %v: %s is answered %q, want %q", len(learnt), c.signal, name, got,
								want)
						}
					}
				}
			}
		})
	}
}
