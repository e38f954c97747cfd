package world

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// Domain is a mail domain with its DNS records, its policy host and its MX hosts. A test may change them at any time. A
// new Domain has no records and no hosts.
type Domain struct {
	Name   string
	Policy *PolicyHost // mta-sts.<name>; nil before Publish
	w      *World
	mxs    int
}

// Domain makes a new domain; its name begins with the label.
func (w *World) Domain(label string) *Domain {
	return &Domain{Name: w.name(label), w: w}
}

// DomainNamed returns a Domain with exactly this name, which no other test may use.
func (w *World) DomainNamed(name string) *Domain { return &Domain{Name: name, w: w} }

// PolicyName returns the name of the domain's policy host.
func (d *Domain) PolicyName() string { return "mta-sts." + d.Name }

// RecordName returns the name of the domain's TXT record.
func (d *Domain) RecordName() string { return "_mta-sts." + d.Name }

// AddMX starts an MX host with STARTTLS and a valid certificate, mx1.<domain> or mx2 and so on, and makes it the
// domain's MX.
func (d *Domain) AddMX(t testing.TB) *MXHost {
	t.Helper()
	mx := d.w.MXHost(t, d.nextMX(), 25)
	d.SetMX(mx.Name)
	return mx
}

// AddPlainMX is AddMX for a host without STARTTLS.
func (d *Domain) AddPlainMX(t testing.TB) *MXHost {
	t.Helper()
	mx := d.w.PlainMXHost(t, d.nextMX(), 25)
	d.SetMX(mx.Name)
	return mx
}

// AddEnforcedMX is AddMX for a domain that publishes a policy in mode enforce, with the id "1", that names this host.
func (d *Domain) AddEnforcedMX(t testing.TB) *MXHost {
	t.Helper()
	mx := d.AddMX(t)
	d.Publish(t, "1", Text("enforce", mx.Name))
	return mx
}

func (d *Domain) nextMX() string {
	d.mxs++
	return fmt.Sprintf("mx%d.%s", d.mxs, d.Name)
}

// SetMX makes these hosts, in this order of preference, the domain's MX records.
func (d *Domain) SetMX(hosts ...string) {
	var records strings.Builder
	for i, host := range hosts {
		fmt.Fprintf(&records, "%s. 300 IN MX %d %s.\n", d.Name, 10*(i+1), host)
	}
	d.w.DNS.Set(d.Name, dns.TypeMX, records.String())
}

// SetID sets the domain's TXT record to this id. Its TTL is 1 s, so that stsmapd checks it as often as it ever does.
func (d *Domain) SetID(id string) { d.SetTXT("v=STSv1; id=" + id + ";") }

// SetTXT sets the domain's TXT records; without texts there is none.
func (d *Domain) SetTXT(texts ...string) {
	var records strings.Builder
	for _, text := range texts {
		records.WriteString((&dns.TXT{
			Hdr: dns.RR_Header{Name: dns.Fqdn(d.RecordName()), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1},
			Txt: []string{text},
		}).String() + "\n")
	}
	d.w.DNS.Set(d.RecordName(), dns.TypeTXT, records.String())
}

// Lookups returns how often the domain's TXT record has been asked for.
func (d *Domain) Lookups() int { return d.w.DNS.Count(d.RecordName(), dns.TypeTXT) }

// BreakDNS makes all DNS lookups for the domain and its policy host fail with this fault.
func (d *Domain) BreakDNS(fault dnstest.Hook) {
	for _, name := range []string{d.Name, d.RecordName(), d.PolicyName()} {
		d.w.DNS.On(name, dns.TypeANY, fault)
	}
}

// Publish starts the domain's policy host, with a valid certificate, and sets the TXT record.
func (d *Domain) Publish(t testing.TB, id, policy string) {
	t.Helper()
	d.Policy = d.w.PolicyHost(t, d.PolicyName())
	d.Policy.Serve(policy)
	d.SetID(id)
}

// Die makes the DNS silent about the domain and its policy host refuse connections.
func (d *Domain) Die() {
	d.BreakDNS(dnstest.Drop)
	d.Policy.Refuse()
}

// EnforcedText returns a policy in mode enforce that names the domain's first MX host, mx1.<domain>.
func (d *Domain) EnforcedText() string { return Text("enforce", "mx1."+d.Name) }

// Text returns a policy file of this mode with a max_age of a week.
func Text(mode string, mx ...string) string {
	text := "version: STSv1\r\nmode: " + mode + "\r\n"
	for _, pattern := range mx {
		text += "mx: " + pattern + "\r\n"
	}
	return text + "max_age: 604800\r\n"
}
