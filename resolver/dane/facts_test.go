package dane

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

// TestFindings is the table of the findings: what the DNS says, and what it means.
func TestFindings(t *testing.T) {
	const mx1, mx2 = "TLSA _25._tcp.mx1.example.test", "TLSA _25._tcp.mx2.example.test"
	alias := func(tlsaAlias, tlsaTarget string) testZone {
		z := testZone{"MX example.test": "mx.example.test", "A mx.example.test": "-> mail.host.test",
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
		zone     testZone
		unsigned []string
		want     Status
		reason   string // part of the error's text
	}{
		{"all hosts have TLSA records", twoHosts(), nil, Usable, ""},
		{"another sort of them", twoHosts().with(testZone{mx2: "2-0-2"}), nil, Usable, ""},
		{"unusable ones beside usable ones do no harm", twoHosts().with(testZone{mx2: "pkix short 3-1-1"}), nil,
			Usable, ""},
		{"one host has none", twoHosts().with(testZone{mx2: "NXDOMAIN"}), nil, Usable, ""},
		{"one host has records of other types there", twoHosts().with(testZone{mx2: ""}), nil, Usable, ""},
		{"one host has only unusable ones", twoHosts().with(testZone{mx1: "pkix"}), nil, Usable, ""},
		{"all hosts have only unusable ones", twoHosts().with(testZone{mx1: "pkix", mx2: "short"}), nil, None, ""},
		{"one unusable, one none", twoHosts().with(testZone{mx1: "pkix", mx2: "NXDOMAIN"}), nil, None, ""},
		{"none, denied securely", twoHosts().with(testZone{mx1: "NXDOMAIN", mx2: ""}), nil, None, ""},
		{"records that are not signed are none", twoHosts(), []string{"_tcp.mx1.example.test", "_tcp.mx2.example.test"},
			None, ""},
		{"one host's records are not signed", twoHosts(), []string{"_tcp.mx2.example.test"}, Usable, ""},

		{"an unsigned domain: its hosts are not even looked at", testZone{"MX example.test": "mx.host.test"},
			[]string{"example.test"}, None, ""},
		{"a host in an unsigned zone: its TLSA records are not even looked at",
			testZone{"MX example.test": "mx.host.test", "A mx.host.test": "192.0.2.1"}, []string{"host.test"}, None,
			""},
		{"one host in an unsigned zone",
			twoHosts().with(testZone{
				"MX example.test": "mx1.example.test mx.host.test", "A mx.host.test": "192.0.2.1"}),
			[]string{"host.test"}, Usable, ""},
		{"an MX host that is an address", twoHosts().with(testZone{"MX example.test": "mx1.example.test 192.0.2.9"}),
			nil, Usable, ""},

		{"the domain does not exist", testZone{"MX example.test": "NXDOMAIN"}, nil, None, ""},
		{"null MX", testZone{"MX example.test": "."}, nil, None, ""},
		{"a null MX among others counts for nothing",
			twoHosts().with(testZone{"MX example.test": ". mx1.example.test"}), nil, Usable, ""},
		{"a host named twice", twoHosts().with(testZone{"MX example.test": "mx1.example.test mx1.example.test"}), nil,
			Usable, ""},
		{"no MX: the domain is its own host",
			testZone{"MX example.test": "", "A example.test": "192.0.2.1", "TLSA _25._tcp.example.test": "3-1-1"}, nil,
			Usable, ""},
		{"no MX and no TLSA", testZone{
			"MX example.test": "", "A example.test": "192.0.2.1", "TLSA _25._tcp.example.test": "NXDOMAIN"},
			nil, None, ""},
		{"no MX in an unsigned domain", testZone{"MX example.test": ""}, []string{"example.test"}, None, ""},
		{"no MX and no address", testZone{"MX example.test": "", "A example.test": ""}, nil, None, ""},

		{"a host that does not exist does not count", twoHosts().with(testZone{"A mx2.example.test": "NXDOMAIN"}), nil,
			Usable, ""},
		{"nor one without addresses", twoHosts().with(testZone{"A mx2.example.test": ""}), nil, Usable, ""},
		{"no host exists", twoHosts().with(
			testZone{"A mx1.example.test": "NXDOMAIN", "AAAA mx1.example.test": "NXDOMAIN", "A mx2.example.test": ""}),
			nil, None, ""},
		{"a host that does not exist beside one without TLSA",
			twoHosts().with(testZone{"A mx2.example.test": "NXDOMAIN", mx1: "NXDOMAIN"}),
			nil, None, ""},
		{"a host with IPv6 only", twoHosts().with(testZone{"A mx1.example.test": ""}), nil, Usable, ""},

		{"MX lookup fails", testZone{"MX example.test": "SERVFAIL"}, nil, Failed, "MX example.test: SERVFAIL"},
		{"TLSA lookup of the only host fails",
			twoHosts().with(testZone{"MX example.test": "mx1.example.test", mx1: "SERVFAIL"}), nil,
			Failed, mx1 + ": SERVFAIL"},
		{"TLSA lookups of all hosts fail", twoHosts().with(testZone{mx1: "SERVFAIL", mx2: "SERVFAIL"}), nil,
			Failed, mx1 + ": SERVFAIL (and 1 more of its MX hosts)"},
		{"one TLSA lookup fails, the other host has none", twoHosts().with(testZone{mx1: "SERVFAIL", mx2: "NXDOMAIN"}),
			nil,
			Failed, mx1 + ": SERVFAIL"},
		{"one TLSA lookup fails, the other host has some", twoHosts().with(testZone{mx1: "SERVFAIL"}), nil, Usable,
			""},
		{"one TLSA lookup fails, the other host has unusable ones",
			twoHosts().with(testZone{mx1: "SERVFAIL", mx2: "pkix"}), nil, Failed, mx1 + ": SERVFAIL"},
		{"address lookups of one host fail, the other has TLSA",
			twoHosts().with(testZone{"A mx2.example.test": "SERVFAIL", "AAAA mx2.example.test": "SERVFAIL"}),
			nil, Usable, ""},
		{"address lookups of one host fail, the other has none",
			twoHosts().with(testZone{"A mx2.example.test": "SERVFAIL", "AAAA mx2.example.test": "SERVFAIL", mx1: ""}),
			nil,
			Failed, "mx2.example.test: SERVFAIL"},
		{"one address lookup fails, the other finds one",
			twoHosts().with(testZone{"AAAA mx1.example.test": "SERVFAIL"}), nil, Usable, ""},
		{"one address lookup fails, the other finds none",
			twoHosts().with(testZone{"A mx2.example.test": "SERVFAIL", mx1: ""}), nil,
			Failed, "A mx2.example.test: SERVFAIL"},

		{"an alias, records at its end", alias("", "3-1-1"), nil, Usable, ""},
		{"an alias, records at itself", alias("3-1-1", "NXDOMAIN"), nil, Usable, ""},
		{"an alias, unusable records at its end go before", alias("", "pkix"), nil, None, ""},
		{"an alias, its end cannot be looked up", alias("", "SERVFAIL"), nil, Failed,
			"_25._tcp.mail.host.test: SERVFAIL"},
		{"an alias, records nowhere", alias("NXDOMAIN", "NXDOMAIN"), nil, None, ""},
		{"a signed alias with an unsigned end, records at itself", alias("3-1-1", "").with(testZone{probe: ""}),
			[]string{"host.test"}, Usable, ""},
		{"a signed alias with an unsigned end, no records", alias("NXDOMAIN", "").with(testZone{probe: "NXDOMAIN"}),
			[]string{"host.test"}, None, ""},
		{"a signed alias with an unsigned end, TLSA lookup fails", alias("SERVFAIL", "").with(testZone{probe: ""}),
			[]string{"host.test"},
			Failed, "TLSA _25._tcp.mx.example.test: SERVFAIL"},
		{"whether the alias is signed cannot be found out", alias("", "").with(testZone{probe: "SERVFAIL"}),
			[]string{"host.test"}, Failed, "SERVFAIL"},
		{"an unsigned alias: its TLSA records are not even looked at", alias("", "").with(testZone{probe: "NXDOMAIN"}),
			[]string{"mx.example.test"}, None, ""},
		{"TLSA records behind an alias of their own",
			twoHosts().with(testZone{mx1: "-> tlsa.host.test", "TLSA tlsa.host.test": "3-1-1"}), nil, Usable, ""},
		{"TLSA records behind an alias that leads out of DNSSEC",
			twoHosts().with(testZone{mx1: "-> tlsa.host.test", "TLSA tlsa.host.test": "3-1-1"}),
			[]string{"host.test"}, Usable, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, c.zone)
			defer b.Close()
			b.dns.unsigned = c.unsigned
			f := b.want(c.why, c.want, 0)
			if c.reason != "" && (f.Err == nil || !strings.Contains(f.Err.Error(), c.reason)) {
				t.Errorf("%s: reason %v, want %s", c.why, f.Err, c.reason)
			}
		})
	}
}

// TestManyHosts: the hosts that Postfix may come to decide, and a bound of hosts is looked up.
func TestManyHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		zone := testZone{}
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
		b := newBench(t, zone)
		defer b.Close()
		b.want("250 MX records of one preference: any may be first", Usable, 0)
		for _, h := range hosts[:maxMXHosts] {
			if n := b.dns.count("TLSA _25._tcp." + h); n != 1 {
				t.Errorf("%d lookups of the TLSA records of %s, want 1", n, h)
			}
		}
	})
}

// TestReachDecides: a host that Postfix never comes to neither makes DANE nor makes the mail wait.
func TestReachDecides(t *testing.T) {
	const six = "TLSA _25._tcp.mx6.example.test"
	zone := testZone{}
	for i := 1; i <= 6; i++ {
		h := fmt.Sprintf("mx%d.example.test", i)
		zone["MX example.test"] += fmt.Sprintf(" %d/%s", i, h)
		zone["A "+h], zone["TLSA _25._tcp."+h] = "192.0.2.1", "NXDOMAIN"
	}
	equal := strings.NewReplacer("2/", "1/", "3/", "1/", "4/", "1/", "5/", "1/", "6/",
		"1/").Replace(zone["MX example.test"])
	for _, c := range []struct {
		why     string
		changes testZone
		want    Status
	}{
		{"the sixth has records", testZone{six: "3-1-1"}, None},
		{"the sixth cannot be looked up", testZone{six: "SERVFAIL"}, None},
		{"nor are its addresses known", testZone{"A mx6.example.test": "SERVFAIL", "AAAA mx6.example.test": "SERVFAIL"},
			Failed},
		{"the fifth has records", testZone{"TLSA _25._tcp.mx5.example.test": "3-1-1"}, Usable},
		{"the sixth of the same preference", testZone{six: "3-1-1", "MX example.test": equal}, Usable},
		{"one of the others has no address", testZone{six: "3-1-1", "A mx3.example.test": ""}, Usable},
		{"one of the others cannot be looked up, and may have none",
			testZone{six: "3-1-1", "A mx3.example.test": "SERVFAIL"}, Usable},
		{"the sixth has the only IPv6 address, which Postfix keeps",
			testZone{six: "3-1-1", "AAAA mx6.example.test": "2001:db8::1"}, Usable},
		{"the first has five addresses",
			testZone{"A mx1.example.test": "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5",
				"TLSA _25._tcp.mx2.example.test": "3-1-1"}, None},
	} {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.zone = zone.with(c.changes)
			b.want(c.why, c.want, 0)
		})
	}
}

func TestAddresses(t *testing.T) {
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
		{"both fail", fail, fail, hostAddresses{err: errServFail, ttl: maxTTL}},
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

// TestJudgeIsTotal goes over all hosts that a domain can have, up to four.
func TestJudgeIsTotal(t *testing.T) {
	fail := errors.New("SERVFAIL")
	var walk func(hosts []mxHost)
	walk = func(hosts []mxHost) {
		has := func(s HostState) bool {
			return slices.ContainsFunc(hosts, func(h mxHost) bool { return h.state == s })
		}
		status, err := judge(facts{hosts: hosts})
		want := None
		switch {
		case has(HostUsable):
			want = Usable
		case has(HostUnknown):
			want = Failed
		}
		if status != want || (err != nil) != (want == Failed) || err != nil && !errors.Is(err, fail) {
			t.Errorf("hosts %v: %v (%v), want %v", hosts, status, err, want)
		}
		if len(hosts) == 4 {
			return
		}
		for s := HostUnknown; s <= HostUsable; s++ {
			h := mxHost{preferences: []uint16{10}, addresses: addressCount{1, 0}, state: s}
			switch s {
			case HostUnknown:
				h.err = fail
			case HostAway:
				h.addresses = addressCount{}
			}
			walk(append(hosts[:len(hosts):len(hosts)], h))
		}
	}
	walk(nil)
	if status, err := judge(facts{err: fail}); status != Failed || !errors.Is(err, fail) {
		t.Errorf("MX lookup failed: %v (%v)", status, err)
	}
}
