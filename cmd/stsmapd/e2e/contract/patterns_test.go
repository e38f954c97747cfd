package contract

import (
	"fmt"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// patternCases are MX hosts with valid certificates whose names the policy does or does not mean.
var patternCases = []struct {
	name, why, pattern, host string // %s: the domain
	sent, sentLoosely        bool   // by a Postfix that keeps the patterns exactly, and by one that does not
}{
	{"a", "the asterisk stands for one label (RFC 8461 section 4.1)", "*.%s", "a.%s", true, true},
	{"ab", "and not for two, which `match=.example.test` allows: only with the pattern itself is it refused", "*.%s",
		"a.b.%s", false, true},
	{"apex", "nor for none", "*.%s", "%s", false, false},
	{"name", "the name itself", "mail.%s", "mail.%s", true, true},
	{"below", "a name below it is another", "mail.%s", "a.mail.%s", false, false},
	{"outside", "a host of a forged DNS answer (section 4.1)", "mx1.%s", "attacker-of-%s", false, false},
}

// TestPatterns sends mail to the MX hosts of patternCases.
func TestPatterns(t *testing.T) {
	w := world.Open(t)
	for _, contract := range contracts {
		t.Run(contract.why, func(t *testing.T) {
			p, _ := startPair(t, w, world.PostfixConfig{
				Map: contract.mapName, Tree: w.Tree(t, contract.system, w.Resolver()),
			}, world.DaemonConfig{})
			refused := 0
			t.Run("cases", func(t *testing.T) {
				for _, c := range patternCases {
					sent := c.sent || c.sentLoosely && !contract.exact
					if !sent && contract.exact {
						refused++
					}
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						d := w.Domain("patterns-" + c.name)
						mx := w.MXHost(t, fmt.Sprintf(c.host, d.Name), 25)
						d.SetMX(mx.Name)
						d.Publish(t, "1", world.Text("enforce", fmt.Sprintf(c.pattern, d.Name)))
						got := p.Delivery(t, p.Send(t, world.ByInet, "user", "someone@"+d.Name))
						taken := len(mx.Messages()) == 1
						if sent != (got.Status == "sent") || sent != (got.TLS == "Verified") || sent != taken ||
							!sent && got.Status != "deferred" {
							t.Errorf("%s: %+v, and the MX took %v; want it to: %v", c.why, got, mx.Messages(), sent)
						}
						if contract.exact && !sent && mx.Saw("EHLO") != 0 {
							t.Errorf("%s: Postfix connected to a host that the policy does not name", c.why)
						}
					})
				}
			})
			// This Postfix logs a warning where the policy does not name a host, and no other warning.
			if n := len(p.LogLines(t, mismatchWarning)); n != refused {
				t.Errorf("%d warnings of %q, want %d", n, mismatchWarning, refused)
			}
			p.NoComplaint(t, mismatchWarning)
		})
	}
}

// mismatchWarning is what Postfix 3.10.5 and later say when they keep mail from an MX.
const mismatchWarning = "does not match STS MX pattern"
