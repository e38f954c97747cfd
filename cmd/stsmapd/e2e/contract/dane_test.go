package contract

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// daneCase is a domain, what must be answered for it, and what must become of a mail.
type daneCase struct {
	name, why string
	setUp     func(*testing.T, *world.World, *world.Domain) *world.MXHost // of a domain in the signed zone
	unsigned  bool                                                        // the domain is not in the signed zone
	answer    string                                                      // the beginning; %s: the MX host
	status    string
	tls       []string // any of these
	reason    string   // a part of it
	fault     string   // a part of what Postfix finds wrong with the certificate
}

const daneOnly, daneWait = "OK dane-only", "TEMP DANE: cannot look up"

var daneCases = []daneCase{
	{
		name: "match", why: "the TLSA record vouches for a certificate that no CA does",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			cert := world.Certificate(t)(w.Untrusted.Issue("mail.elsewhere.test"))
			mx.SetCertificate(cert)
			setTLSA(t, w, mx, cert)
			return mx
		},
		answer: daneOnly, status: "sent", tls: []string{"Verified"},
	},
	{
		name: "mismatch", why: "the TLSA record does not match, though the MTA-STS policy would pass (RFC 8461 " +
			"section 2)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, world.Certificate(t)(w.CA.Issue(mx.Name)))
			return mx
		},
		answer: daneOnly, status: "deferred", tls: []string{"Untrusted"}, reason: "Server certificate not verified",
		fault: "no matching DANE TLSA records",
	},
	{
		name: "forged", why: "a TLSA record with a bad signature: whether there is one is not known, so the mail waits",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, world.Certificate(t)(w.CA.Issue(mx.Name)))
			w.Validator(t).Forge(tlsaName(mx), dns.TypeTLSA)
			return mx
		},
		answer: daneWait, status: "deferred", reason: "client TLS configuration problem",
	},
	{
		name: "servfail", why: "the server of the TLSA records fails",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, mx.Certificate())
			w.DNS.On(tlsaName(mx), dns.TypeTLSA, dnstest.ServFail)
			return mx
		},
		answer: daneWait, status: "deferred", reason: "client TLS configuration problem",
	},
	{
		name: "notlsa", why: "there are provably no TLSA records",
		setUp:  func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost { return d.AddEnforcedMX(t) },
		answer: "OK secure match=%s servername=hostname", status: "sent", tls: []string{"Verified"},
	},
	{
		name: "unsigned", why: "a zone that is not signed has no DANE, whatever TLSA records are in it", unsigned: true,
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, world.Certificate(t)(w.CA.Issue(mx.Name)))
			return mx
		},
		answer: "OK secure match=%s servername=hostname", status: "sent", tls: []string{"Verified"},
	},
	{
		name: "nxdomain", why: "an MX host that is not there does not count (RFC 7672 section 2.2.1)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, mx.Certificate())
			d.SetMX("gone."+d.Name, mx.Name)
			return mx
		},
		answer: daneOnly, status: "sent", tls: []string{"Verified"},
	},
	{
		name: "some", why: "an MX host with DANE is used with DANE, and one without is not",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			plain, mx := d.AddMX(t), d.AddMX(t)
			d.SetMX(mx.Name, plain.Name)
			setTLSA(t, w, mx, mx.Certificate())
			d.Publish(t, "1", world.Text("enforce", mx.Name, plain.Name))
			return mx
		},
		answer: daneOnly, status: "sent", tls: []string{"Verified"},
	},
	{
		name: "unusable", why: "TLSA records of which none is usable take nothing from the policy",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			w.DNS.Add("_25._tcp." + mx.Name + ". 300 IN TLSA 3 1 1 abcd")
			return mx
		},
		answer: "OK secure match=%s servername=hostname", status: "sent", tls: []string{"Verified"},
	},
	{
		name: "alias", why: "TLSA records behind a CNAME (RFC 7672 section 2.2.2)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, mx.Certificate())
			records := strings.ReplaceAll(record(t, mx, mx.Certificate()), tlsaName(mx), "tlsa."+d.Name)
			w.DNS.Set(tlsaName(mx), dns.TypeTLSA, "")
			w.DNS.Add(records + "\n" + tlsaName(mx) + ". 300 IN CNAME tlsa." + d.Name + ".")
			return mx
		},
		answer: daneOnly, status: "sent", tls: []string{"Verified"},
	},
	{
		name: "nomx", why: "without an MX record the domain is its own MX host (RFC 5321 section 5.1)",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := w.MXHost(t, d.Name, 25)
			setTLSA(t, w, mx, mx.Certificate())
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		},
		answer: daneOnly, status: "sent", tls: []string{"Verified"},
	},
	{
		name: "bücher", why: "a domain that Postfix asks for by its U-label",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			setTLSA(t, w, mx, mx.Certificate())
			return mx
		},
		answer: daneOnly, status: "sent", tls: []string{"Verified"},
	},
	{
		name: "nopolicy", why: "without a policy that binds, DANE is Postfix's own business",
		setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			setTLSA(t, w, mx, world.Certificate(t)(w.CA.Issue(mx.Name)))
			return mx
		},
		answer: "NOTFOUND ", status: "deferred", tls: []string{"Untrusted"}, reason: "Server certificate not verified",
		fault: "no matching DANE TLSA records",
	},
}

// daneContracts are the Postfixes that deliver with DANE, and the maps that they ask.
var daneContracts = []struct {
	why, mapName string
	system       world.System
}{
	{"the machine's Postfix", "QUERY", world.Own},
	{"Postfix 3.10", "sts+dane+tlsrpt", world.Trixie},
	{"Postfix 3.10 and later", "sts+dane+tlsrpt", world.Sid},
}

// TestDANE delivers with DANE by a real validating resolver, which stsmapd and Postfix both ask.
func TestDANE(t *testing.T) {
	w := world.Open(t)
	v := w.Validator(t)
	for _, contract := range daneContracts {
		t.Run(contract.why, func(t *testing.T) {
			relay := w.SignedDomain(t, "smarthöst")
			relayHost := w.MXHost(t, relay.Name, 2525)
			relayCert := world.Certificate(t)(w.Untrusted.Issue("mail.elsewhere.test"))
			relayHost.SetCertificate(relayCert)
			setTLSA(t, w, relayHost, relayCert)
			relay.Publish(t, "1", world.Text("enforce", relay.Name))
			p, daemon := startPair(t, w, world.PostfixConfig{
				Map: contract.mapName, Tree: w.Tree(t, contract.system, v.Addr), DANE: true,
				RelayHost: fmt.Sprintf("[%s]:2525", unicodeName(t, relay.Name)),
			}, world.DaemonConfig{Resolver: v.Addr})
			t.Run("cases", func(t *testing.T) {
				for _, c := range daneCases {
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						d := w.SignedDomain(t, "dane-"+c.name)
						if c.unsigned {
							d = w.Domain("dane-" + c.name)
						}
						checkDANE(t, w, p, daemon, contract.mapName, d, c)
					})
				}
				t.Run("smarthost", func(t *testing.T) {
					t.Parallel()
					checkDANERelay(t, p, daemon, contract.mapName, relayHost)
				})
			})
			// Of these Postfix must complain; and for a moment of a name in brackets that has U-labels.
			p.NoComplaint(t, "dane-forged-", "dane-servfail-", "dane-unusable-", "[smarthöst-")
		})
	}
}

// daneReason is what an administrator finds in Postfix's log when mail waits because of us.
const daneReason = "socketmap server temporary error: DANE: cannot look up the MX hosts' TLSA records: "

func checkDANE(t *testing.T, w *world.World, p *world.Postfix, daemon *world.Daemon, mapName string, d *world.Domain,
	c daneCase) {
	t.Helper()
	mx := c.setUp(t, w, d)
	want := c.answer
	if strings.Contains(want, "%s") {
		want = fmt.Sprintf(want, mx.Name)
	}
	for _, key := range []string{d.Name, unicodeName(t, d.Name)} {
		if got := daemon.Ask(t, mapName, key); !strings.HasPrefix(got, want) || strings.HasPrefix(want, "OK dane") &&
			got != want {
			t.Errorf("%s: asked for %s, the answer is %q, want %q", c.why, key, got, want)
		}
	}
	if got := daemon.Ask(t, "sts", d.Name); d.Policy != nil && !strings.HasPrefix(got, "OK secure match="+mx.Name) {
		t.Errorf("%s: to a Postfix without DANE the answer is %q, want the policy", c.why, got)
	}
	got := p.Delivery(t, p.Send(t, world.ByUnix, "user", "someone@"+unicodeName(t, d.Name)))
	tlsGood := len(c.tls) == 0 && got.TLS == ""
	for _, tls := range c.tls {
		tlsGood = tlsGood || got.TLS == tls
	}
	if got.Status != c.status || !tlsGood || !strings.Contains(got.Reason, c.reason) ||
		!strings.Contains(got.Fault, c.fault) {
		t.Errorf("%s:\n got %+v\nwant status %s, TLS %q, a reason with %q, a fault with %q", c.why, got, c.status,
			c.tls, c.reason, c.fault)
	}
	if taken := len(mx.Messages()) > 0; taken != (c.status == "sent") || mx.Saw("MAIL FROM") > 0 {
		t.Errorf("%s: the MX took %v, in the clear %d times", c.why, mx.Messages(), mx.Saw("MAIL FROM"))
	}
	if c.answer == daneWait && len(p.LogLines(t, "warning: ", daneReason, mx.Name)) == 0 {
		t.Errorf("%s: Postfix's log does not say why the mail waits", c.why)
	}
}

// checkDANERelay sends a mail by a smart host with a U-label name and TLSA records of its port.
func checkDANERelay(t *testing.T, p *world.Postfix, daemon *world.Daemon, mapName string, relayHost *world.MXHost) {
	t.Helper()
	for _, key := range []string{
		fmt.Sprintf("[%s]:2525", relayHost.Name), fmt.Sprintf("[%s]:2525", unicodeName(t, relayHost.Name))} {
		if got := daemon.Ask(t, mapName, key); got != daneOnly {
			t.Errorf("asked for %s, the answer is %q, want %q: the TLSA records are those of port 2525", key, got,
				daneOnly)
		}
	}
	if got, not := daemon.Ask(t, mapName, "["+relayHost.Name+"]"), daneOnly; got == not {
		t.Errorf("port 25 has no TLSA records, and the answer is %q", got)
	}
	got := p.Delivery(t, p.Send(t, world.ByInet, "relayed", "someone@nowhere.test"))
	if got.Status != "sent" || got.TLS != "Verified" || len(relayHost.Messages()) != 1 {
		t.Errorf("by way of the smart host: %+v; it took %v", got, relayHost.Messages())
	}
}

// setTLSA makes the one TLSA record of the host's port say that its certificate is to have this one's key (DANE-EE, RFC
// 7672 section 3.1.1).
func setTLSA(t *testing.T, w *world.World, mx *world.MXHost, cert tls.Certificate) {
	t.Helper()
	w.DNS.Set(tlsaName(mx), dns.TypeTLSA, record(t, mx, cert))
}

func record(t *testing.T, mx *world.MXHost, cert tls.Certificate) string {
	t.Helper()
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	rr := &dns.TLSA{Hdr: dns.RR_Header{
		Name: dns.Fqdn(tlsaName(mx)), Rrtype: dns.TypeTLSA, Class: dns.ClassINET, Ttl: 300}}
	if err := rr.Sign(3, 1, 1, parsed); err != nil {
		t.Fatal(err)
	}
	return rr.String()
}

// tlsaName is where the TLSA records of the host's port are (RFC 6698 section 3).
func tlsaName(mx *world.MXHost) string { return fmt.Sprintf("_%d._tcp.%s", mx.Addr.Port(), mx.Name) }

// unicodeName is a name with U-labels in place of A-labels.
func unicodeName(t *testing.T, name string) string {
	t.Helper()
	u, err := idna.Lookup.ToUnicode(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
