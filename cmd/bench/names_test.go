package main

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		names names
		i     int
		want  string
		why   string
	}{
		{names{Zone: near}, 0, "23:sts n00000000.near.test,", "all names are of one length, so are all replies"},
		{names{Zone: far, First: 9_999_999}, 1, "22:sts n10000000.far.test,", "without end"},
		{names{Zone: kept, First: 5, Count: 10}, 12, "23:sts n00000007.kept.test,", "round and round"},
	} {
		if got := string(c.names.appendQuestion(nil, c.i)); got != c.want {
			t.Errorf("%+v: question %d is %q, want %q: %s", c.names, c.i, got, c.want, c.why)
		}
	}
	shuffled := names{Zone: near, Count: 1000, Shuffled: true}
	seen := map[string]bool{}
	for i := range 10_000 {
		seen[string(shuffled.appendQuestion(nil, i))] = true
	}
	if len(seen) < 990 {
		t.Errorf("10,000 shuffled questions are for %d domains of 1000", len(seen))
	}
	buf := make([]byte, 0, 100)
	if got := testing.AllocsPerRun(100, func() { buf = shuffled.appendQuestion(buf[:0], 7) }); got != 0 {
		t.Errorf("%v allocations for a question: they would disturb what is measured", got)
	}
}

func TestDomains(t *testing.T) {
	for _, c := range []struct {
		name      string
		zone      string
		n         int
		published bool
	}{
		{domain(kept, 17), kept, 17, true},
		{domain(near, 17), near, 17, false},
		{domain(far, 40), far, 40, true},
		{domain(far, 41), far, 41, false},
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
	if p, err := mtasts.ParsePolicy([]byte(policyText(domain(kept, 1)))); err != nil || len(p.MX) != 2 {
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
		{"_mta-sts." + domain(kept, 1), dns.TypeTXT, dns.RcodeSuccess, `"v=STSv1; id=1;"`, false},
		{"_mta-sts." + domain(far, 20), dns.TypeTXT, dns.RcodeSuccess, `"v=STSv1; id=1;"`, true},
		{"_mta-sts." + domain(far, 21), dns.TypeTXT, dns.RcodeNameError, "", true},
		{"_mta-sts." + strings.ToUpper(domain(near, 1)), dns.TypeTXT, dns.RcodeNameError, "", false},
		{"mta-sts." + domain(kept, 1), dns.TypeA, dns.RcodeSuccess, policyHostAddress, false},
		{"mta-sts." + domain(kept, 1), dns.TypeAAAA, dns.RcodeSuccess, "", false},
		{domain(kept, 1), dns.TypeMX, dns.RcodeSuccess, "mx1." + domain(kept, 1), false},
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
