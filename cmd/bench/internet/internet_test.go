package internet

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func TestDomains(t *testing.T) {
	for _, c := range []struct {
		name      string
		zone      string
		n         int
		published bool
	}{
		{Domain(Kept, 17), Kept, 17, true},
		{Domain(Near, 17), Near, 17, false},
		{Domain(Far, 40), Far, 40, true},
		{Domain(Far, 41), Far, 41, false},
	} {
		zone, n, ok := parseDomain(c.name)
		if !ok || zone != c.zone || n != c.n || hasPolicy(zone, n) != c.published {
			t.Errorf("%s: zone %s, %d, %v, with a policy %v", c.name, zone, n, ok, hasPolicy(zone, n))
		}
	}
	for _, name := range []string{"", "test", "x.far.test", "n1.far.example", "a.n1.far.test", "n.far.test"} {
		if _, _, ok := parseDomain(name); ok {
			t.Errorf("%q is taken for a domain", name)
		}
	}
	if p, err := mtasts.ParsePolicy([]byte(PolicyText(Domain(Kept, 1)))); err != nil || len(p.MX()) != 2 {
		t.Errorf("%v, %v", p, err)
	}
}

func TestRespond(t *testing.T) {
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  string // part of the answer; "": none
		slow  bool
	}{
		{"_mta-sts." + Domain(Kept, 1), dns.TypeTXT, dns.RcodeSuccess, `"v=STSv1; id=1;"`, false},
		{"_mta-sts." + Domain(Far, 20), dns.TypeTXT, dns.RcodeSuccess, `"v=STSv1; id=1;"`, true},
		{"_mta-sts." + Domain(Far, 21), dns.TypeTXT, dns.RcodeNameError, "", true},
		{"_mta-sts." + strings.ToUpper(Domain(Near, 1)), dns.TypeTXT, dns.RcodeNameError, "", false},
		{"mta-sts." + Domain(Kept, 1), dns.TypeA, dns.RcodeSuccess, policyHostAddress, false},
		{"mta-sts." + Domain(Kept, 1), dns.TypeAAAA, dns.RcodeSuccess, "", false},
		{Domain(Kept, 1), dns.TypeMX, dns.RcodeSuccess, "mx1." + Domain(Kept, 1), false},
		{"example.com", dns.TypeMX, dns.RcodeNameError, "", false},
	} {
		reply, delay := respond(new(dns.Msg).SetQuestion(dns.Fqdn(c.name), c.qtype))
		if reply.Rcode != c.rcode || (delay == distance) != c.slow || (len(reply.Answer) > 0) != (c.want != "") {
			t.Errorf("%s %s: after %v\n%v", c.name, dns.Type(c.qtype), delay, reply)
			continue
		}
		switch {
		case c.want == "" && len(reply.Ns) != 1:
			t.Errorf("%s %s: a denial without SOA is not remembered", c.name, dns.Type(c.qtype))
		case c.want != "" && !strings.Contains(reply.Answer[0].String(), c.want):
			t.Errorf("%s %s: %v, want %s", c.name, dns.Type(c.qtype), reply.Answer[0], c.want)
		}
	}
}
