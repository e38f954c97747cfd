package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// contract is a Postfix and what it asks for.
type contract struct {
	why, mapName string
	system       world.System
	sni          bool // the MX is asked for by its name
	exact        bool // the MX patterns are kept exactly
}

// contracts are those of the table of map names in README.md, as far as MTA-STS alone goes.
var contracts = []contract{
	{"the machine's Postfix", "sts", world.Own, true, false},
	{"a Postfix before 3.4", "sts+nosni", world.Own, false, false},
	{"a newer Postfix, without what it adds", "sts", world.Sid, true, false},
	{"Postfix 3.10", "sts+tlsrpt", world.Trixie, true, true},
	{"Postfix 3.10 and later", "sts+tlsrpt", world.Sid, true, true},
	{"the same by another daemon's map name", "QUERYwithTLSRPT", world.Sid, true, true},
}

// startPair starts a Postfix and the stsmapd that it asks, which listens for both routes.
func startPair(t *testing.T, w *world.World, config world.PostfixConfig, daemon world.DaemonConfig) (*world.Postfix,
	*world.Daemon) {
	t.Helper()
	config.Inet = netip.AddrPortFrom(w.Host(), 8461)
	p := w.NewPostfix(t, config)
	daemon.Inet, daemon.Unix = config.Inet, filepath.Join(p.Queue, world.SocketName)
	if config.Collector {
		daemon.Collector = p.CollectorSocket()
	}
	d := w.StartDaemon(t, daemon)
	p.Start(t)
	return p, d
}

// TestContractDeliveries has each Postfix deliver what TestDeliveries has the machine's own deliver.
func TestContractDeliveries(t *testing.T) {
	w := world.Open(t)
	for _, contract := range contracts {
		t.Run(contract.why, func(t *testing.T) {
			relay := w.Domain("relay")
			relay.Publish(t, "1", world.Text("enforce", relay.Name))
			relayHost := w.MXHost(t, relay.Name, 2525)
			p, _ := startPair(t, w, world.PostfixConfig{
				Map: contract.mapName, Tree: w.Tree(t, contract.system, w.Resolver()),
				RelayHost: fmt.Sprintf("[%s]:2525", relay.Name),
			}, world.DaemonConfig{})
			t.Logf("Postfix %s", p.Version(t))
			t.Run("cases", func(t *testing.T) { // ends when all its parallel tests have, and only then Postfix stops
				for _, c := range deliveryCases {
					if c.name == "outside" && contract.exact {
						continue // no connection, so other words: TestContractPatterns
					}
					c = contract.adapt(c)
					for _, route := range world.Routes() {
						t.Run(c.name+"/"+string(route), func(t *testing.T) {
							t.Parallel()
							d := w.Domain(c.name)
							mx := c.setUp(t, w, d)
							checkDelivery(t, p, route, p.Send(t, route, "user", "someone@"+d.Name), mx, c)
						})
					}
				}
				t.Run("relayhost", func(t *testing.T) {
					t.Parallel()
					checkRelayHost(t, w, p, relayHost)
				})
			})
			noComplaint(t, p)
		})
	}
}

// adapt returns the case with what this Postfix says, where that is not what the machine's own says.
func (c contract) adapt(d deliveryCase) deliveryCase {
	if c.system != world.Own && d.fault == "hostname mismatch" {
		d.tls = "Trusted" // of the chain that is true; the mail does not go for all that
	}
	if d.tls == "Verified" && !c.sni {
		d.check = sentWithoutSNI
	}
	return d
}

// checkRelayHost sends two mails by way of the relay host; before the second it changes.
func checkRelayHost(t *testing.T, w *world.World, p *world.Postfix, relayHost *world.MXHost) {
	t.Helper()
	recipient := w.Domain("behind")
	recipient.Publish(t, "1", world.Text("enforce", "mx1.elsewhere.test"))
	checkDelivery(t, p, world.ByInet, p.Send(t, world.ByInet, "relayed", "someone@"+recipient.Name), relayHost,
		deliveryCase{
			why: "the smart host's name is the policy domain (RFC 8461 section 3.4)", status: "sent", tls: "Verified",
		})
	relayHost.SetCertificate(certificate(t)(w.Untrusted.Issue(relayHost.Name)))
	got := p.Delivery(t, p.Send(t, world.ByUnix, "relayed", "someone@"+recipient.Name))
	if got.Status != "deferred" || got.TLS != "Untrusted" || len(relayHost.Messages()) != 1 {
		t.Errorf("a relay host with a certificate that nobody trusts: %+v, and it took %v", got, relayHost.Messages())
	}
	if n := recipient.Policy.Requests(); n != 0 {
		t.Errorf("%d GETs for the recipient's domain; its policy is the relay host's business", n)
	}
}

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

// TestContractPatterns sends mail to them.
func TestContractPatterns(t *testing.T) {
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
			// This Postfix says by a warning that the policy does not name a host. It is the only one.
			if n := len(p.LogLines(t, mismatchWarning)); n != refused {
				t.Errorf("%d warnings of %q, want %d", n, mismatchWarning, refused)
			}
			noComplaint(t, p, mismatchWarning)
		})
	}
}

// mismatchWarning is what Postfix 3.10.5 and later say when they keep mail from an MX.
const mismatchWarning = "does not match STS MX pattern"

// sentWithoutSNI checks that the MX got the mail by TLS, and no server name.
func sentWithoutSNI(t *testing.T, mx *world.MXHost) {
	t.Helper()
	nothingInTheClear(t, mx)
	for _, m := range mx.Messages() {
		if !m.TLS || m.SNI != "" {
			t.Errorf("a mail came with TLS %v and server name %q, not without", m.TLS, m.SNI)
		}
	}
}
