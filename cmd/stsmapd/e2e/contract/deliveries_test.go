package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// deliveryCase is a domain, and what must become of a mail for it.
type deliveryCase struct {
	name, why string
	// returns the host to which Postfix will connect
	setUp  func(*testing.T, *world.World, *world.Domain) *world.MXHost
	status string
	tls    string // "" = without
	reason string // a part of the reason for deferring
	fault  string // a part of what Postfix finds wrong with the certificate
	check  func(*testing.T, *world.MXHost)
}

var deliveryCases = []deliveryCase{
	{
		name: "valid", why: "enforce, all is well (RFC 8461 section 5)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		},
		status: "sent", tls: "Verified", check: sentSNI,
	},
	{
		name: "wildcard", why: "the asterisk stands for the left-most label (section 4.1)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			d.Publish(t, "1", world.Text("enforce", "mail.elsewhere.test", "*."+d.Name))
			return mx
		},
		status: "sent", tls: "Verified", check: sentSNI,
	},
	{
		name: "nostarttls", why: "a stripped STARTTLS must stop the mail (section 5)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddPlainMX(t)
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		},
		status: "deferred", reason: "TLS is required, but was not offered", check: nothingInTheClear,
	},
	{
		name: "wrongname", why: "the certificate must name the MX (section 4.2)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			mx.SetCertificate(world.Certificate(t)(w.CA.Issue("mail.attacker.test")))
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		},
		status: "deferred", tls: "Untrusted", reason: "Server certificate not verified", fault: "hostname mismatch",
		check: nothingInTheClear,
	},
	{
		name: "expired", why: "the certificate must be in date (section 4.2)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			mx.SetCertificate(world.Certificate(t)(w.CA.IssueExpired(mx.Name)))
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		},
		status: "deferred", tls: "Untrusted", reason: "Server certificate not verified",
		fault: "certificate has expired", check: nothingInTheClear,
	},
	{
		name: "untrusted", why: "the certificate must come from a trusted root (section 4.2)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			mx.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(mx.Name)))
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		},
		status: "deferred", tls: "Untrusted", reason: "Server certificate not verified", fault: "untrusted issuer",
		check: nothingInTheClear,
	},
	{
		name: "outside", why: "an MX of a forged DNS answer, with a valid certificate of its own, is not in the " +
			"policy (section 4.1)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			d.Publish(t, "1", world.Text("enforce", "mx1."+d.Name))
			mx := w.MXHost(t, "mail.attacker-of-"+d.Name, 25)
			d.SetMX(mx.Name)
			return mx
		},
		status: "deferred", tls: "Untrusted", reason: "Server certificate not verified", fault: "hostname mismatch",
		check: nothingInTheClear,
	},
	{
		name: "testing", why: "mode testing stops nothing (section 5)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddPlainMX(t)
			d.Publish(t, "1", world.Text("testing", "mx1.elsewhere.test"))
			return mx
		},
		status: "sent", check: sentInTheClear,
	},
	{
		name: "none", why: "mode none stops nothing (sections 5 and 8.3)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddPlainMX(t)
			d.Publish(t, "1", world.Text("none"))
			return mx
		},
		status: "sent", check: sentInTheClear,
	},
	{
		name: "nopolicy", why: "a domain without MTA-STS is none of our business",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			return d.AddPlainMX(t)
		},
		status: "sent", check: sentInTheClear,
	},
	{
		name: "nofile", why: "a TXT record without a policy file, and nothing remembered: as if there were no " +
			"MTA-STS (section 3.3)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			d.SetID("1")
			return d.AddPlainMX(t)
		},
		status: "sent", check: sentInTheClear,
	},
	{
		name: "second", why: "a host that fails is as good as unreachable, the next one is tried (section 8.4)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			bad, good := d.AddPlainMX(t), d.AddMX(t)
			d.SetMX(bad.Name, good.Name)
			d.Publish(t, "1", world.Text("enforce", bad.Name, good.Name))
			t.Cleanup(func() { nothingInTheClear(t, bad) })
			return good
		},
		status: "sent", tls: "Verified", check: sentSNI,
	},
}

func TestDeliveries(t *testing.T) {
	w := world.Open(t)
	p, _ := postfixAndDaemon(t, w, "")
	t.Run("cases", func(t *testing.T) { // ends when all its parallel tests have, and only then Postfix stops
		for _, c := range deliveryCases {
			for _, route := range world.Routes() {
				t.Run(c.name+"/"+string(route), func(t *testing.T) {
					t.Parallel()
					d := w.Domain(c.name)
					mx := c.setUp(t, w, d)
					checkDelivery(t, p, route, p.Send(t, route, "user", "someone@"+d.Name), mx, c)
				})
			}
		}
	})
	p.NoComplaint(t)
}

func TestRelayHostHasItsOwnPolicy(t *testing.T) {
	w := world.Open(t)
	cases := []deliveryCase{
		{
			name: "valid", why: "the smart host's name is the policy domain (RFC 8461 section 3.4)",
			setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
				d.Publish(t, "1", world.Text("enforce", d.Name))
				return w.MXHost(t, d.Name, 2525)
			},
			status: "sent", tls: "Verified",
		},
		{
			name: "nostarttls", why: "and it is enforced",
			setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
				d.Publish(t, "1", world.Text("enforce", d.Name))
				return w.PlainMXHost(t, d.Name, 2525)
			},
			status: "deferred", reason: "TLS is required, but was not offered", check: nothingInTheClear,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			relay := w.Domain("relay-" + c.name)
			mx := c.setUp(t, w, relay)
			// The policy of the recipient's domain would stop the mail, if it were asked for.
			recipient := w.Domain("behind")
			recipient.Publish(t, "1", world.Text("enforce", "mx1.elsewhere.test"))
			p, _ := postfixAndDaemon(t, w, fmt.Sprintf("[%s]:2525", relay.Name))
			for _, route := range world.Routes() {
				checkDelivery(t, p, route, p.Send(t, route, "relayed", "someone@"+recipient.Name), mx, c)
			}
			if n := recipient.Policy.Requests(); n != 0 {
				t.Errorf("%d GETs for the recipient's domain; its policy is the relay host's business", n)
			}
			p.NoComplaint(t)
		})
	}
}

// postfixAndDaemon starts the machine's Postfix and the stsmapd that it asks.
func postfixAndDaemon(t *testing.T, w *world.World, relayHost string) (*world.Postfix, *world.Daemon) {
	t.Helper()
	return startPair(t, w, world.PostfixConfig{Map: "postfix", RelayHost: relayHost}, world.DaemonConfig{})
}

func checkDelivery(t *testing.T, p *world.Postfix, route world.Route, queueID string, mx *world.MXHost,
	c deliveryCase) {
	t.Helper()
	got := p.Delivery(t, queueID)
	if got.Status != c.status || got.TLS != c.tls || got.Relay != mx.Name || got.Route != route ||
		!strings.Contains(got.Reason, c.reason) || !strings.Contains(got.Fault, c.fault) {
		t.Errorf("%s:\n got %+v\nwant status %s, relay %s, route %s, TLS %q, a reason with %q, a fault with %q",
			c.why, got, c.status, mx.Name, route, c.tls, c.reason, c.fault)
	}
	if taken := len(mx.Messages()) > 0; taken != (c.status == "sent") {
		t.Errorf("%s: the MX took %v", c.why, mx.Messages())
	}
	if c.check != nil {
		c.check(t, mx)
	}
}

// nothingInTheClear tests that Postfix connected and sent nothing of the mail unencrypted.
func nothingInTheClear(t *testing.T, mx *world.MXHost) {
	t.Helper()
	if mx.Saw("EHLO") == 0 {
		t.Error("Postfix never connected, so the test says nothing")
	}
	for _, secret := range []string{"MAIL FROM", "RCPT TO", "Subject"} {
		if mx.Saw(secret) != 0 {
			t.Errorf("%s was in the clear on the wire", secret)
		}
	}
}

// sentInTheClear checks that a mail for which nothing was asked went as it would without stsmapd. It also shows that
// nothingInTheClear would find what it looks for.
func sentInTheClear(t *testing.T, mx *world.MXHost) {
	t.Helper()
	if mx.Saw("MAIL FROM") != 1 || mx.Saw("Subject") != 1 {
		t.Error("the mail was not on the wire")
	}
}

// sentSNI checks that the MX was asked for by its name (RFC 8461 section 7.1), and by TLS alone.
func sentSNI(t *testing.T, mx *world.MXHost) {
	t.Helper()
	nothingInTheClear(t, mx)
	for _, m := range mx.Messages() {
		if !m.TLS || m.SNI != mx.Name {
			t.Errorf("a mail came with TLS %v and server name %q, not %q", m.TLS, m.SNI, mx.Name)
		}
	}
}

// TestDeliveriesOfEachPostfix has each Postfix deliver what TestDeliveries has the machine's own deliver.
func TestDeliveriesOfEachPostfix(t *testing.T) {
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
						continue // no connection, so other words: TestPatterns
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
			p.NoComplaint(t)
		})
	}
}

// adapt returns the case with the words of this Postfix, where they differ from those of the machine's own.
func (c contract) adapt(d deliveryCase) deliveryCase {
	if c.system != world.Own && d.fault == "hostname mismatch" {
		d.tls = "Trusted" // true of the chain; the mail waits nevertheless
	}
	if d.tls == "Verified" && !c.sni {
		d.check = sentWithoutSNI
	}
	return d
}

// checkRelayHost sends two mails by the relay host, whose certificate changes between them.
func checkRelayHost(t *testing.T, w *world.World, p *world.Postfix, relayHost *world.MXHost) {
	t.Helper()
	recipient := w.Domain("behind")
	recipient.Publish(t, "1", world.Text("enforce", "mx1.elsewhere.test"))
	checkDelivery(t, p, world.ByInet, p.Send(t, world.ByInet, "relayed", "someone@"+recipient.Name), relayHost,
		deliveryCase{
			why: "the smart host's name is the policy domain (RFC 8461 section 3.4)", status: "sent", tls: "Verified",
		})
	relayHost.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(relayHost.Name)))
	got := p.Delivery(t, p.Send(t, world.ByUnix, "relayed", "someone@"+recipient.Name))
	if got.Status != "deferred" || got.TLS != "Untrusted" || len(relayHost.Messages()) != 1 {
		t.Errorf("a relay host with a certificate that nobody trusts: %+v, and it took %v", got, relayHost.Messages())
	}
	if n := recipient.Policy.Requests(); n != 0 {
		t.Errorf("%d GETs for the recipient's domain; its policy is the relay host's business", n)
	}
}

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
