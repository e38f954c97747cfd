package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// TestDANEFindings is the table of the findings: what the DNS says, and what it means.
func TestDANEFindings(t *testing.T) {
	const mx1, mx2 = "TLSA _25._tcp.mx1.example.test", "TLSA _25._tcp.mx2.example.test"
	alias := func(tlsaAlias, tlsaTarget string) daneZone {
		z := daneZone{"MX example.test": "mx.example.test", "A mx.example.test": "-> mail.host.test",
			"A mail.host.test": "192.0.2.1"}
		if tlsaAlias != "" {
			z["TLSA _25._tcp.mx.example.test"] = tlsaAlias
		}
		if tlsaTarget != "" {
			z["TLSA _25._tcp.mail.host.test"] = tlsaTarget
		}
		return z
	}
	const probe = "A _25._tcp.mx.example.test"
	for _, c := range []struct {
		why      string
		zone     daneZone
		unsigned []string
		want     DANEStatus
		reason   string // part of the error's text
	}{
		{"all hosts have TLSA records", twoHosts(), nil, DANEUsable, ""},
		{"another sort of them", twoHosts().with(daneZone{mx2: "2-0-2"}), nil, DANEUsable, ""},
		{"unusable ones beside usable ones do no harm", twoHosts().with(daneZone{mx2: "pkix short 3-1-1"}), nil,
			DANEUsable, ""},
		{"one host has none", twoHosts().with(daneZone{mx2: "NXDOMAIN"}), nil, DANEUsable, ""},
		{"one host has records of other types there", twoHosts().with(daneZone{mx2: ""}), nil, DANEUsable, ""},
		{"one host has only unusable ones", twoHosts().with(daneZone{mx1: "pkix"}), nil, DANEUsable, ""},
		{"all hosts have only unusable ones", twoHosts().with(daneZone{mx1: "pkix", mx2: "short"}), nil, DANENone, ""},
		{"one unusable, one none", twoHosts().with(daneZone{mx1: "pkix", mx2: "NXDOMAIN"}), nil, DANENone, ""},
		{"none, denied securely", twoHosts().with(daneZone{mx1: "NXDOMAIN", mx2: ""}), nil, DANENone, ""},
		{"records that are not signed are none", twoHosts(), []string{"_tcp.mx1.example.test", "_tcp.mx2.example.test"},
			DANENone, ""},
		{"one host's records are not signed", twoHosts(), []string{"_tcp.mx2.example.test"}, DANEUsable, ""},

		{"an unsigned domain: its hosts are not even looked at", daneZone{"MX example.test": "mx.host.test"},
			[]string{"example.test"}, DANENone, ""},
		{"a host in an unsigned zone: its TLSA records are not even looked at",
			daneZone{"MX example.test": "mx.host.test", "A mx.host.test": "192.0.2.1"}, []string{"host.test"}, DANENone,
			""},
		{"one host in an unsigned zone",
			twoHosts().with(daneZone{
				"MX example.test": "mx1.example.test mx.host.test", "A mx.host.test": "192.0.2.1"}),
			[]string{"host.test"}, DANEUsable, ""},
		{"an MX host that is an address", twoHosts().with(daneZone{"MX example.test": "mx1.example.test 192.0.2.9"}),
			nil, DANEUsable, ""},

		{"the domain does not exist", daneZone{"MX example.test": "NXDOMAIN"}, nil, DANENone, ""},
		{"null MX", daneZone{"MX example.test": "."}, nil, DANENone, ""},
		{"a null MX among others counts for nothing",
			twoHosts().with(daneZone{"MX example.test": ". mx1.example.test"}), nil, DANEUsable, ""},
		{"a host named twice", twoHosts().with(daneZone{"MX example.test": "mx1.example.test mx1.example.test"}), nil,
			DANEUsable, ""},
		{"no MX: the domain is its own host",
			daneZone{"MX example.test": "", "A example.test": "192.0.2.1", "TLSA _25._tcp.example.test": "3-1-1"}, nil,
			DANEUsable, ""},
		{"no MX and no TLSA", daneZone{
			"MX example.test": "", "A example.test": "192.0.2.1", "TLSA _25._tcp.example.test": "NXDOMAIN"},
			nil, DANENone, ""},
		{"no MX in an unsigned domain", daneZone{"MX example.test": ""}, []string{"example.test"}, DANENone, ""},
		{"no MX and no address", daneZone{"MX example.test": "", "A example.test": ""}, nil, DANENone, ""},

		{"a host that does not exist does not count", twoHosts().with(daneZone{"A mx2.example.test": "NXDOMAIN"}), nil,
			DANEUsable, ""},
		{"nor one without addresses", twoHosts().with(daneZone{"A mx2.example.test": ""}), nil, DANEUsable, ""},
		{"no host exists", twoHosts().with(
			daneZone{"A mx1.example.test": "NXDOMAIN", "AAAA mx1.example.test": "NXDOMAIN", "A mx2.example.test": ""}),
			nil, DANENone, ""},
		{"a host that does not exist beside one without TLSA",
			twoHosts().with(daneZone{"A mx2.example.test": "NXDOMAIN", mx1: "NXDOMAIN"}),
			nil, DANENone, ""},
		{"a host with IPv6 only", twoHosts().with(daneZone{"A mx1.example.test": ""}), nil, DANEUsable, ""},

		{"MX lookup fails", daneZone{"MX example.test": "SERVFAIL"}, nil, DANEFailed, "MX example.test: SERVFAIL"},
		{"TLSA lookup of the only host fails",
			twoHosts().with(daneZone{"MX example.test": "mx1.example.test", mx1: "SERVFAIL"}), nil,
			DANEFailed, mx1 + ": SERVFAIL"},
		{"TLSA lookups of all hosts fail", twoHosts().with(daneZone{mx1: "SERVFAIL", mx2: "SERVFAIL"}), nil,
			DANEFailed, mx1 + ": SERVFAIL (and 1 more of its MX hosts)"},
		{"one TLSA lookup fails, the other host has none", twoHosts().with(daneZone{mx1: "SERVFAIL", mx2: "NXDOMAIN"}),
			nil,
			DANEFailed, mx1 + ": SERVFAIL"},
		{"one TLSA lookup fails, the other host has some", twoHosts().with(daneZone{mx1: "SERVFAIL"}), nil, DANEUsable,
			""},
		{"one TLSA lookup fails, the other host has unusable ones",
			twoHosts().with(daneZone{mx1: "SERVFAIL", mx2: "pkix"}), nil, DANEFailed, mx1 + ": SERVFAIL"},
		{"address lookups of one host fail, the other has TLSA",
			twoHosts().with(daneZone{"A mx2.example.test": "SERVFAIL", "AAAA mx2.example.test": "SERVFAIL"}),
			nil, DANEUsable, ""},
		{"address lookups of one host fail, the other has none",
			twoHosts().with(daneZone{"A mx2.example.test": "SERVFAIL", "AAAA mx2.example.test": "SERVFAIL", mx1: ""}),
			nil,
			DANEFailed, "mx2.example.test: SERVFAIL"},
		{"one address lookup fails, the other finds one",
			twoHosts().with(daneZone{"AAAA mx1.example.test": "SERVFAIL"}), nil, DANEUsable, ""},
		{"one address lookup fails, the other finds none",
			twoHosts().with(daneZone{"A mx2.example.test": "SERVFAIL", mx1: ""}), nil,
			DANEFailed, "A mx2.example.test: SERVFAIL"},

		{"an alias, records at its end", alias("", "3-1-1"), nil, DANEUsable, ""},
		{"an alias, records at itself", alias("3-1-1", "NXDOMAIN"), nil, DANEUsable, ""},
		{"an alias, unusable records at its end go before", alias("", "pkix"), nil, DANENone, ""},
		{"an alias, its end cannot be looked up", alias("", "SERVFAIL"), nil, DANEFailed,
			"_25._tcp.mail.host.test: SERVFAIL"},
		{"an alias, records nowhere", alias("NXDOMAIN", "NXDOMAIN"), nil, DANENone, ""},
		{"a signed alias with an unsigned end, records at itself", alias("3-1-1", "").with(daneZone{probe: ""}),
			[]string{"host.test"}, DANEUsable, ""},
		{"a signed alias with an unsigned end, no records", alias("NXDOMAIN", "").with(daneZone{probe: "NXDOMAIN"}),
			[]string{"host.test"}, DANENone, ""},
		{"a signed alias with an unsigned end, TLSA lookup fails", alias("SERVFAIL", "").with(daneZone{probe: ""}),
			[]string{"host.test"},
			DANEFailed, "TLSA _25._tcp.mx.example.test: SERVFAIL"},
		{"whether the alias is signed cannot be found out", alias("", "").with(daneZone{probe: "SERVFAIL"}),
			[]string{"host.test"}, DANEFailed, "SERVFAIL"},
		{"an unsigned alias: its TLSA records are not even looked at", alias("", "").with(daneZone{probe: "NXDOMAIN"}),
			[]string{"mx.example.test"}, DANENone, ""},
		{"TLSA records behind an alias of their own",
			twoHosts().with(daneZone{mx1: "-> tlsa.host.test", "TLSA tlsa.host.test": "3-1-1"}), nil, DANEUsable, ""},
		{"TLSA records behind an alias that leads out of DNSSEC",
			twoHosts().with(daneZone{mx1: "-> tlsa.host.test", "TLSA tlsa.host.test": "3-1-1"}),
			[]string{"host.test"}, DANEUsable, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newDANEBench(t, c.zone)
			defer b.close()
			b.dns.unsigned = c.unsigned
			f := b.want(c.why, c.want, 0)
			if c.reason != "" && (f.Err == nil || !strings.Contains(f.Err.Error(), c.reason)) {
				t.Errorf("%s: reason %v, want %s", c.why, f.Err, c.reason)
			}
		})
	}
}

// TestDANEManyHosts: the hosts that Postfix may come to decide, and a bound of hosts is looked up.
func TestDANEManyHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		zone := daneZone{}
		for i := range 200 {
			h := fmt.Sprintf("mx%d.example.test", i)
			hosts = append(hosts, h)
			if i < maxMXHosts {
				zone["A "+h], zone["TLSA _25._tcp."+h] = "192.0.2.1", "NXDOMAIN"
			}
		}
		zone["TLSA _25._tcp."+hosts[maxMXHosts-1]] = "3-1-1"
		// The first stands there often, but is looked up once.
		zone["MX example.test"] = strings.Repeat(hosts[0]+" ", 50) + strings.Join(hosts, " ")
		b := newDANEBench(t, zone)
		defer b.close()
		b.want("250 MX records of one preference: any may be first", DANEUsable, 0)
		for _, h := range hosts[:maxMXHosts] {
			if n := b.dns.count("TLSA _25._tcp." + h); n != 1 {
				t.Errorf("%d lookups of the TLSA records of %s, want 1", n, h)
			}
		}
	})
}

// TestDANEReachDecides: a host that Postfix never comes to neither makes DANE nor makes the mail wait.
func TestDANEReachDecides(t *testing.T) {
	const six = "TLSA _25._tcp.mx6.example.test"
	zone := daneZone{}
	for i := 1; i <= 6; i++ {
		h := fmt.Sprintf("mx%d.example.test", i)
		zone["MX example.test"] += fmt.Sprintf(" %d/%s", i, h)
		zone["A "+h], zone["TLSA _25._tcp."+h] = "192.0.2.1", "NXDOMAIN"
	}
	equal := strings.NewReplacer("2/", "1/", "3/", "1/", "4/", "1/", "5/", "1/", "6/",
		"1/").Replace(zone["MX example.test"])
	for _, c := range []struct {
		why     string
		changes daneZone
		want    DANEStatus
	}{
		{"the sixth has records", daneZone{six: "3-1-1"}, DANENone},
		{"the sixth cannot be looked up", daneZone{six: "SERVFAIL"}, DANENone},
		{"nor are its addresses known", daneZone{"A mx6.example.test": "SERVFAIL", "AAAA mx6.example.test": "SERVFAIL"},
			DANEFailed},
		{"the fifth has records", daneZone{"TLSA _25._tcp.mx5.example.test": "3-1-1"}, DANEUsable},
		{"the sixth of the same preference", daneZone{six: "3-1-1", "MX example.test": equal}, DANEUsable},
		{"one of the others has no address", daneZone{six: "3-1-1", "A mx3.example.test": ""}, DANEUsable},
		{"one of the others cannot be looked up, and may have none",
			daneZone{six: "3-1-1", "A mx3.example.test": "SERVFAIL"}, DANEUsable},
		{"the sixth has the only IPv6 address, which Postfix keeps",
			daneZone{six: "3-1-1", "AAAA mx6.example.test": "2001:db8::1"}, DANEUsable},
		{"the first has five addresses",
			daneZone{"A mx1.example.test": "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5",
				"TLSA _25._tcp.mx2.example.test": "3-1-1"}, DANENone},
	} {
		daneTest(t, func(t *testing.T, b *daneBench) {
			b.dns.zone = zone.with(c.changes)
			b.want(c.why, c.want, 0)
		})
	}
}

func TestDANEAddresses(t *testing.T) {
	fail := looked{err: errServFail}
	none := looked{answer: dnsclient.Answer[netip.Addr]{Denial: dnsclient.NoData, TTL: 2 * time.Minute}}
	at := func(target string, secure bool) looked {
		return looked{answer: dnsclient.Answer[netip.Addr]{
			Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Target: target, Authentic: secure,
			TTL: 3 * time.Minute}}
	}
	one, two := addressCount{1, 0}, addressCount{1, 1}
	for _, c := range []struct {
		why    string
		v4, v6 looked
		want   hostAddresses
	}{
		{"both", at("", true), at("", true), hostAddresses{count: two, secure: true, ttl: 3 * time.Minute}},
		{"one family is secure: Postfix may use that one", at("", false), at("", true),
			hostAddresses{count: two, secure: true, ttl: 3 * time.Minute}},
		{"neither is", at("", false), at("", false), hostAddresses{count: two, ttl: 3 * time.Minute}},
		{"one family only; its denial need not be secure", at("", true), none,
			hostAddresses{count: one, secure: true, ttl: 3 * time.Minute}},
		{"one lookup fails", at("x.test", true), fail,
			hostAddresses{count: one, secure: true, target: "x.test", ttl: 3 * time.Minute}},
		{"both fail", fail, fail, hostAddresses{err: errServFail, ttl: maxDANETTL}},
		{"one fails, the other finds none", fail, none, hostAddresses{err: errServFail, ttl: 2 * time.Minute}},
		{"no addresses", none, none, hostAddresses{ttl: 2 * time.Minute}},
	} {
		if got := addressesOf(c.v4, c.v6); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.why, got, c.want)
		}
		c.want.count.v4, c.want.count.v6 = c.want.count.v6, c.want.count.v4
		if got := addressesOf(c.v6, c.v4); got != c.want {
			t.Errorf("%s, turned round: %+v, want %+v", c.why, got, c.want)
		}
	}
}

// TestDANEJudgeIsTotal goes over all hosts that a domain can have, up to four.
func TestDANEJudgeIsTotal(t *testing.T) {
	fail := errors.New("SERVFAIL")
	var walk func(hosts []mxHost)
	walk = func(hosts []mxHost) {
		has := func(s hostState) bool { return slices.ContainsFunc(hosts, func(h mxHost) bool { return h.state == s }) }
		status, err := judgeDANE(daneFacts{hosts: hosts})
		want := DANENone
		switch {
		case has(hostUsable):
			want = DANEUsable
		case has(hostUnknown):
			want = DANEFailed
		}
		if status != want || (err != nil) != (want == DANEFailed) || err != nil && !errors.Is(err, fail) {
			t.Errorf("hosts %v: %v (%v), want %v", hosts, status, err, want)
		}
		if len(hosts) == 4 {
			return
		}
		for s := hostUnknown; s <= hostUsable; s++ {
			h := mxHost{preferences: []uint16{10}, addresses: addressCount{1, 0}, state: s}
			switch s {
			case hostUnknown:
				h.err = fail
			case hostAway:
				h.addresses = addressCount{}
			}
			walk(append(hosts[:len(hosts):len(hosts)], h))
		}
	}
	walk(nil)
	if status, err := judgeDANE(daneFacts{err: fail}); status != DANEFailed || !errors.Is(err, fail) {
		t.Errorf("MX lookup failed: %v (%v)", status, err)
	}
}
