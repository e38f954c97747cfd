package resolver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
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
		z := daneZone{"MX example.test": "mx.example.test", "A mx.example.test": "-> mail.host.test", "A mail.host.test": "192.0.2.1"}
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
		{"all hosts have TLSA records", twoHosts(), nil, DANEFully, ""},
		{"another sort of them", twoHosts().with(daneZone{mx2: "2-0-2"}), nil, DANEFully, ""},
		{"unusable ones beside usable ones do no harm", twoHosts().with(daneZone{mx2: "pkix short 3-1-1"}), nil, DANEFully, ""},
		{"one host has none", twoHosts().with(daneZone{mx2: "NXDOMAIN"}), nil, DANEPartly, ""},
		{"one host has records of other types there", twoHosts().with(daneZone{mx2: ""}), nil, DANEPartly, ""},
		{"one host has only unusable ones", twoHosts().with(daneZone{mx1: "pkix"}), nil, DANEPartly, ""},
		{"all hosts have only unusable ones", twoHosts().with(daneZone{mx1: "pkix", mx2: "short"}), nil, DANEPartly, ""},
		{"one unusable, one none", twoHosts().with(daneZone{mx1: "pkix", mx2: "NXDOMAIN"}), nil, DANEPartly, ""},
		{"none, denied securely", twoHosts().with(daneZone{mx1: "NXDOMAIN", mx2: ""}), nil, DANENone, ""},
		{"records that are not signed are none", twoHosts(), []string{"_tcp.mx1.example.test", "_tcp.mx2.example.test"}, DANENone, ""},
		{"one host's records are not signed", twoHosts(), []string{"_tcp.mx2.example.test"}, DANEPartly, ""},

		{"an unsigned domain: its hosts are not even looked at", daneZone{"MX example.test": "mx.host.test"}, []string{"example.test"}, DANENone, ""},
		{"a host in an unsigned zone: its TLSA records are not even looked at",
			daneZone{"MX example.test": "mx.host.test", "A mx.host.test": "192.0.2.1"}, []string{"host.test"}, DANENone, ""},
		{"one host in an unsigned zone", twoHosts().with(daneZone{"MX example.test": "mx1.example.test mx.host.test", "A mx.host.test": "192.0.2.1"}),
			[]string{"host.test"}, DANEPartly, ""},
		{"an MX host that is an address", twoHosts().with(daneZone{"MX example.test": "mx1.example.test 192.0.2.9"}), nil, DANEPartly, ""},

		{"the domain does not exist", daneZone{"MX example.test": "NXDOMAIN"}, nil, DANENone, ""},
		{"null MX", daneZone{"MX example.test": "."}, nil, DANENone, ""},
		{"a null MX among others counts for nothing", twoHosts().with(daneZone{"MX example.test": ". mx1.example.test"}), nil, DANEFully, ""},
		{"a host named twice", twoHosts().with(daneZone{"MX example.test": "mx1.example.test mx1.example.test"}), nil, DANEFully, ""},
		{"no MX: the domain is its own host",
			daneZone{"MX example.test": "", "A example.test": "192.0.2.1", "TLSA _25._tcp.example.test": "3-1-1"}, nil, DANEFully, ""},
		{"no MX and no TLSA", daneZone{"MX example.test": "", "A example.test": "192.0.2.1", "TLSA _25._tcp.example.test": "NXDOMAIN"},
			nil, DANENone, ""},
		{"no MX in an unsigned domain", daneZone{"MX example.test": ""}, []string{"example.test"}, DANENone, ""},
		{"no MX and no address", daneZone{"MX example.test": "", "A example.test": ""}, nil, DANENone, ""},

		{"a host that does not exist does not count", twoHosts().with(daneZone{"A mx2.example.test": "NXDOMAIN"}), nil, DANEFully, ""},
		{"nor one without addresses", twoHosts().with(daneZone{"A mx2.example.test": ""}), nil, DANEFully, ""},
		{"no host exists", twoHosts().with(daneZone{"A mx1.example.test": "NXDOMAIN", "AAAA mx1.example.test": "NXDOMAIN", "A mx2.example.test": ""}),
			nil, DANENone, ""},
		{"a host that does not exist beside one without TLSA", twoHosts().with(daneZone{"A mx2.example.test": "NXDOMAIN", mx1: "NXDOMAIN"}),
			nil, DANENone, ""},
		{"a host with IPv6 only", twoHosts().with(daneZone{"A mx1.example.test": ""}), nil, DANEFully, ""},

		{"MX lookup fails", daneZone{"MX example.test": "SERVFAIL"}, nil, DANEFailed, "MX example.test: SERVFAIL"},
		{"TLSA lookup of the only host fails", twoHosts().with(daneZone{"MX example.test": "mx1.example.test", mx1: "SERVFAIL"}), nil,
			DANEFailed, mx1 + ": SERVFAIL"},
		{"TLSA lookups of all hosts fail", twoHosts().with(daneZone{mx1: "SERVFAIL", mx2: "SERVFAIL"}), nil,
			DANEFailed, mx1 + ": SERVFAIL (and 1 more of its MX hosts)"},
		{"one TLSA lookup fails, the other host has none", twoHosts().with(daneZone{mx1: "SERVFAIL", mx2: "NXDOMAIN"}), nil,
			DANEFailed, mx1 + ": SERVFAIL"},
		{"one TLSA lookup fails, the other host has some", twoHosts().with(daneZone{mx1: "SERVFAIL"}), nil, DANEPartly, ""},
		{"one TLSA lookup fails, the other host has unusable ones", twoHosts().with(daneZone{mx1: "SERVFAIL", mx2: "pkix"}), nil, DANEPartly, ""},
		{"address lookups of one host fail, the other has TLSA", twoHosts().with(daneZone{"A mx2.example.test": "SERVFAIL", "AAAA mx2.example.test": "SERVFAIL"}),
			nil, DANEPartly, ""},
		{"address lookups of one host fail, the other has none",
			twoHosts().with(daneZone{"A mx2.example.test": "SERVFAIL", "AAAA mx2.example.test": "SERVFAIL", mx1: ""}), nil,
			DANEFailed, "mx2.example.test: SERVFAIL"},
		{"one address lookup fails, the other finds one", twoHosts().with(daneZone{"AAAA mx1.example.test": "SERVFAIL"}), nil, DANEFully, ""},
		{"one address lookup fails, the other finds none", twoHosts().with(daneZone{"A mx2.example.test": "SERVFAIL", mx1: ""}), nil,
			DANEFailed, "A mx2.example.test: SERVFAIL"},

		{"an alias, records at its end", alias("", "3-1-1"), nil, DANEFully, ""},
		{"an alias, records at itself", alias("3-1-1", "NXDOMAIN"), nil, DANEFully, ""},
		{"an alias, unusable records at its end go before", alias("", "pkix"), nil, DANEPartly, ""},
		{"an alias, its end cannot be looked up", alias("", "SERVFAIL"), nil, DANEFailed, "_25._tcp.mail.host.test: SERVFAIL"},
		{"an alias, records nowhere", alias("NXDOMAIN", "NXDOMAIN"), nil, DANENone, ""},
		{"a signed alias with an unsigned end, records at itself", alias("3-1-1", "").with(daneZone{probe: ""}), []string{"host.test"}, DANEFully, ""},
		{"a signed alias with an unsigned end, no records", alias("NXDOMAIN", "").with(daneZone{probe: "NXDOMAIN"}), []string{"host.test"}, DANENone, ""},
		{"a signed alias with an unsigned end, TLSA lookup fails", alias("SERVFAIL", "").with(daneZone{probe: ""}), []string{"host.test"},
			DANEFailed, "TLSA _25._tcp.mx.example.test: SERVFAIL"},
		{"whether the alias is signed cannot be found out", alias("", "").with(daneZone{probe: "SERVFAIL"}), []string{"host.test"}, DANEFailed, "SERVFAIL"},
		{"an unsigned alias: its TLSA records are not even looked at", alias("", "").with(daneZone{probe: "NXDOMAIN"}),
			[]string{"mx.example.test"}, DANENone, ""},
		{"TLSA records behind an alias of their own", twoHosts().with(daneZone{mx1: "-> tlsa.host.test", "TLSA tlsa.host.test": "3-1-1"}), nil, DANEFully, ""},
		{"TLSA records behind an alias that leads out of DNSSEC", twoHosts().with(daneZone{mx1: "-> tlsa.host.test", "TLSA tlsa.host.test": "3-1-1"}),
			[]string{"host.test"}, DANEPartly, ""},
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

// TestDANEManyHosts: the most preferred hosts decide, and the rest are not even looked up.
func TestDANEManyHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		zone := daneZone{}
		for i := range 200 {
			h := fmt.Sprintf("mx%d.example.test", i)
			hosts = append(hosts, h)
			if i < maxMXHosts {
				zone["A "+h], zone["TLSA _25._tcp."+h] = "192.0.2.1", "3-1-1"
			}
		}
		// The first stands there often, but counts once.
		zone["MX example.test"] = strings.Repeat(hosts[0]+" ", 50) + strings.Join(hosts, " ")
		b := newDANEBench(t, zone)
		defer b.close()
		b.want("250 MX records", DANEFully, 0)
		for _, h := range hosts[:maxMXHosts] {
			if n := b.dns.count("TLSA _25._tcp." + h); n != 1 {
				t.Errorf("%d lookups of the TLSA records of %s, want 1", n, h)
			}
		}
	})
}

func TestDANEAddresses(t *testing.T) {
	fail := looked{err: errServFail}
	none := looked{answer: dnsclient.Answer[netip.Addr]{Denial: dnsclient.NoData, TTL: 2 * time.Minute}}
	at := func(target string, secure bool) looked {
		return looked{answer: dnsclient.Answer[netip.Addr]{
			Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Target: target, Authentic: secure, TTL: 3 * time.Minute}}
	}
	for _, c := range []struct {
		why  string
		one  looked
		two  looked
		want hostAddresses
	}{
		{"both", at("", true), at("", true), hostAddresses{exist: true, secure: true, ttl: 3 * time.Minute}},
		{"one family is not secure: Postfix may use that one", at("", true), at("", false), hostAddresses{exist: true, ttl: 3 * time.Minute}},
		{"neither is", at("", false), at("", false), hostAddresses{exist: true, ttl: 3 * time.Minute}},
		{"one family only; its denial need not be secure", at("", true), none, hostAddresses{exist: true, secure: true, ttl: 3 * time.Minute}},
		{"one lookup fails", at("x.test", true), fail, hostAddresses{exist: true, secure: true, target: "x.test", ttl: 3 * time.Minute}},
		{"both fail", fail, fail, hostAddresses{err: errServFail, ttl: maxDANETTL}},
		{"one fails, the other finds none", fail, none, hostAddresses{err: errServFail, ttl: 2 * time.Minute}},
		{"no addresses", none, none, hostAddresses{ttl: 2 * time.Minute}},
	} {
		for _, got := range []hostAddresses{addressesOf(c.one, c.two), addressesOf(c.two, c.one)} {
			if got != c.want {
				t.Errorf("%s: %+v, want %+v", c.why, got, c.want)
			}
		}
	}
}

// TestDANEJudgeIsTotal goes over all hosts that a domain can have, up to four.
func TestDANEJudgeIsTotal(t *testing.T) {
	fail := errors.New("SERVFAIL")
	var walk func(hosts []mxHost)
	walk = func(hosts []mxHost) {
		has := func(s hostState) bool {
			for _, h := range hosts {
				if h.state == s {
					return true
				}
			}
			return false
		}
		status, err := judgeDANE(daneFacts{hosts: hosts})
		dane := has(hostUsable) || has(hostUnusable)
		want := DANENone
		switch {
		case dane && !has(hostUnusable) && !has(hostPlain) && !has(hostUnknown):
			want = DANEFully
		case dane:
			want = DANEPartly
		case has(hostUnknown):
			want = DANEFailed
		}
		if status != want || (err != nil) != (has(hostUnknown)) || has(hostUnknown) && !errors.Is(err, fail) {
			t.Errorf("hosts %v: %v (%v), want %v", hosts, status, err, want)
		}
		if len(hosts) == 4 {
			return
		}
		for s := hostUnknown; s <= hostUsable; s++ {
			h := mxHost{state: s}
			if s == hostUnknown {
				h.err = fail
			}
			walk(append(hosts[:len(hosts):len(hosts)], h))
		}
	}
	walk(nil)
	if status, err := judgeDANE(daneFacts{err: fail}); status != DANEFailed || !errors.Is(err, fail) {
		t.Errorf("MX lookup failed: %v (%v)", status, err)
	}
}

func TestDANEUsableTLSA(t *testing.T) {
	cert, spki := certificate(t)
	for _, c := range []struct {
		why    string
		record dnsclient.TLSA
		want   bool
	}{
		{"3 1 1", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, true},
		{"2 0 1", dnsclient.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: make([]byte, 32)}, true},
		{"3 0 2", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 2, Data: make([]byte, 64)}, true},
		{"PKIX-TA", dnsclient.TLSA{Usage: 0, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"PKIX-EE", dnsclient.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"a usage to come", dnsclient.TLSA{Usage: 4, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"private use", dnsclient.TLSA{Usage: 255, Selector: 255, MatchingType: 255, Data: make([]byte, 32)}, false},
		{"a selector to come", dnsclient.TLSA{Usage: 3, Selector: 2, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"a matching type to come", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 3, Data: make([]byte, 32)}, false},
		{"SHA-256 too short", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 31)}, false},
		{"SHA-256 too long", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 33)}, false},
		{"SHA-512 with the length of SHA-256", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 2, Data: make([]byte, 32)}, false},
		{"no digest", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1}, false},
		{"a whole certificate", dnsclient.TLSA{Usage: 2, Selector: 0, MatchingType: 0, Data: cert}, true},
		{"a whole key", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 0, Data: spki}, true},
		{"a key where a certificate should be", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0, Data: spki}, false},
		{"a certificate where a key should be", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 0, Data: cert}, false},
		{"half a certificate", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0, Data: cert[:len(cert)/2]}, false},
		{"a certificate and more", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0, Data: append(cert[:len(cert):len(cert)], 0)}, false},
		{"no certificate", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0}, false},
		{"a digest where a key should be", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 0, Data: make([]byte, 32)}, false},
	} {
		if got := usableTLSA(c.record); got != c.want {
			t.Errorf("%s: usable %v, want %v", c.why, got, c.want)
		}
	}
}

// certificate makes a certificate and its key's SubjectPublicKeyInfo, in DER.
func certificate(t *testing.T) (cert, spki []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.test"}, NotAfter: time.Unix(1<<33, 0)}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	if spki, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		t.Fatal(err)
	}
	return cert, spki
}
