package check

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// TestMatchesAsPostfix: what a Postfix makes of match=, which goes by the certificate's names alone.
func TestMatchesAsPostfix(t *testing.T) {
	for _, c := range []struct {
		why, names, patterns string
		want                 bool
	}{
		{"the name", "mx.example.org", "mx.example.org", true},
		{"in any case, with a final dot", "MX.Example.ORG.", "mx.example.org", true},
		{"one of several", "a.example b.example", "c.example b.example", true},
		{"another", "mx2.example.org", "mx1.example.org", false},
		{"a wildcard certificate", "*.example.org", "mx.example.org", true},
		{"for one label", "*.org", "mx.example.org", false},
		{"a wildcard pattern", "mx.example.org", "*.example.org", true},
		{"takes any depth in a certificate", "a.b.example.org", "*.example.org", true},
		{"but not the name itself", "example.org", "*.example.org", false},
		{"nor the end of a label", "mxexample.org", "*.example.org", false},
		{"a wildcard certificate below a wildcard pattern", "*.example.org", "*.example.org", true},
		{"a wildcard certificate is not the name above", "*.example.org", "example.org", false},
		{"no names", "", "mx.example.org", false},
	} {
		var patterns []mtasts.Pattern
		for _, text := range strings.Fields(c.patterns) {
			p, err := mtasts.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			patterns = append(patterns, p)
		}
		if got := matchesAsPostfix(strings.Fields(c.names), patterns); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

// TestMatchesTLSA goes over the usable records (RFC 7671 section 5).
func TestMatchesTLSA(t *testing.T) {
	ca := newAuthority(t, "CA")
	chainOf := func(end time.Time, name string) []*x509.Certificate {
		leaf, err := x509.ParseCertificate(ca.issue(t, end, name).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{leaf, ca.cert}
	}
	chain := chainOf(farEnd(), mx1)
	record := func(usage, selector, matching uint8, of *x509.Certificate) dnsclient.TLSA {
		data := of.Raw
		if selector == 1 {
			data = of.RawSubjectPublicKeyInfo
		}
		switch matching {
		case 1:
			sum := sha256.Sum256(data)
			data = sum[:]
		case 2:
			sum := sha512.Sum512(data)
			data = sum[:]
		}
		return dnsclient.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Data: data}
	}
	for selector := range uint8(2) {
		for matching := range uint8(3) {
			name := fmt.Sprintf("%d %d", selector, matching)
			own, authority := record(3, selector, matching, chain[0]), record(2, selector, matching, ca.cert)
			for _, c := range []struct {
				why    string
				record dnsclient.TLSA
				chain  []*x509.Certificate
				want   bool
			}{
				{"3: the certificate", own, chain, true},
				{"3: of another", record(3, selector, matching, ca.cert), chain, false},
				{"2: its authority", authority, chain, true},
				{"2: an authority that is not sent: only a whole certificate helps", authority, chain[:1],
					selector == 0 && matching == 0},
				{"2: out of date", authority, chainOf(pastEnd(), mx1), false},
				{"2: of another name", authority, chainOf(farEnd(), "other.example"), false},
				{"2: of the domain's name", authority, chainOf(farEnd(), testDomain), true},
			} {
				if got := matchesTLSA(testNow(), []dnsclient.TLSA{c.record}, c.chain,
					[]string{mx1, testDomain}); got != c.want {
					t.Errorf("%s, %s: %v, want %v", name, c.why, got, c.want)
				}
			}
			if !matchesTLSA(testNow(), []dnsclient.TLSA{record(3, selector, matching, ca.cert), own}, chain, nil) {
				t.Errorf("%s: the second of two records counts too", name)
			}
		}
	}
	expired := chainOf(pastEnd(), "other.example")
	if !matchesTLSA(testNow(), []dnsclient.TLSA{record(3, 1, 1, expired[0])}, expired, nil) {
		t.Error("usage 3 asks for neither names nor dates (RFC 7672 section 3.1.1)")
	}
}

func TestAdvice(t *testing.T) {
	no, yes := false, true
	until := func(d time.Duration) *TLS {
		return &TLS{Certificates: []Certificate{{NotAfter: testNow().Add(d)}, {NotAfter: testNow().Add(-time.Hour)}}}
	}
	const week = 7 * 24 * time.Hour
	file := func(change func(*Policy)) Report {
		p := &Policy{Status: "ok", Mode: "enforce", MaxAge: 604800, URL: "https://x/", Host: "mta-sts.example.org"}
		change(p)
		return Report{Policy: p, Record: Record{ID: "1"}}
	}
	host := func(h Host) Report { return Report{MX: MX{Hosts: []Host{h}}} }
	for _, c := range []struct {
		why    string
		report Report
		same   bool
		want   AdviceCode // "": none
	}{
		{"nothing", Report{}, false, ""},
		{"a good policy", file(func(*Policy) {}), false, ""},
		{"a day", file(func(p *Policy) { p.MaxAge = 86400 }), false, ""},
		{"less", file(func(p *Policy) { p.MaxAge = 86399 }), false, AdviceShortMaxAge},
		{"less, but mode none", file(func(p *Policy) { p.MaxAge, p.Mode = 60, "none" }), false, ""},
		{"a year", file(func(p *Policy) { p.Lines = []Line{{Text: "max_age: 31557600", Verdict: "ok"}} }), false, ""},
		{"more", file(func(p *Policy) { p.Lines = []Line{{Text: "max_age:31557601", Verdict: "ok"}} }), false,
			AdviceLongMaxAge},
		{"more, in a line that does not count",
			file(func(p *Policy) { p.Lines = []Line{{Text: "max_age: 31557601", Verdict: "repeated"}} }), false, ""},
		{"HTML", file(func(p *Policy) { p.Status = "media_type" }), false, AdviceMediaType},
		{"the old id", file(func(*Policy) {}), true, AdviceSameID},
		{"two weeks", file(func(p *Policy) { p.TLS = until(2 * week) }), false, ""},
		{"less than two weeks", file(func(p *Policy) { p.TLS = until(2*week - 1) }), false, AdviceExpiring},
		{"expired", file(func(p *Policy) { p.TLS = until(-week) }), false, AdviceExpiring},
		{"an MX host's", host(Host{TLS: until(week)}), false, AdviceExpiring},
		{"a host in the policy", host(Host{InPolicy: &yes}), false, ""},
		{"a host outside", host(Host{InPolicy: &no}), false, AdviceNotInPolicy},
		{"a host outside of an override",
			Report{MX: MX{Hosts: []Host{{InPolicy: &no}}}, Override: &Override{Action: "enforce"}}, false, ""},
		{"no host can be reached", host(Host{Probed: true, Problems: []Problem{{ProblemUnreachable, ""}}}), false,
			AdvicePort25},
		{"one host can", Report{
			MX: MX{Hosts: []Host{{Probed: true, Problems: []Problem{{ProblemUnreachable, ""}}}, {Probed: true}}}},
			false, ""},
		{"an authority that ends soon",
			host(Host{TLS: &TLS{Certificates: []Certificate{{NotAfter: farEnd()}, {NotAfter: testNow().Add(week)}}}}),
			false, AdviceExpiring},
	} {
		var want []AdviceCode
		if c.want != "" {
			want = append(want, c.want)
		}
		var got []AdviceCode
		for _, a := range advise(testNow(), &c.report, c.same) {
			got = append(got, a.Code)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", c.why, got, want)
		}
	}
}

// TestTryHosts: Postfix takes hosts of one preference in any order.
func TestTryHosts(t *testing.T) {
	for _, c := range []struct{ hosts, want string }{
		{"a10", "delivered, verified"},
		{"A10", "deferred: A fails"},
		{"A10 b20", "delivered, verified, to b, after A without success: A fails"},
		{"A10 b10", "delivered, verified, to b, never to A: A fails"},
		{"A10 b20 C20 D30", "delivered, verified, to b, after A without success, never to C and D: " +
			"A fails; C fails; D fails"},
		{"a10 b10 c10 d10 E20", "delivered, verified, to a, b, c and 1 more, never to E: E fails"},
		{"a10 ?20", "delivered, not always verified: ? is weak"},
	} {
		var hosts []Host
		for _, text := range strings.Fields(c.hosts) {
			h := Host{Name: text[:1]}
			if _, err := fmt.Sscan(text[1:], &h.Preference); err != nil {
				t.Fatal(err)
			}
			hosts = append(hosts, h)
		}
		got := tryHosts(hosts, func(h Host) (Delivery, string) {
			switch {
			case h.Name == "?":
				return Unverified, "? is weak"
			case strings.ToUpper(h.Name) == h.Name:
				return Deferred, h.Name + " fails"
			}
			return Verified, ""
		})
		if got.words != c.want {
			t.Errorf("%s: %q, want %q", c.hosts, got.words, c.want)
		}
	}
}

func TestCandidates(t *testing.T) {
	var all []netip.Addr
	for i := range byte(4) {
		all = append(all, netip.AddrFrom16([16]byte{0: 0x20, 15: i}))
	}
	for i := range byte(4) {
		all = append(all, netip.AddrFrom4([4]byte{5, 0, 0, i}))
	}
	if got, want := fmt.Sprint(candidates(all)), "[2000:: 2000::1 5.0.0.0 5.0.0.1]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""}, {"aaa bbb", "aaa|bbb"}, {"a b c d", "a b c|d"}, {"ä ö ü", "ä ö ü"},
		{"abcdefgh i", "abcdefgh|i"},
	} {
		if got := strings.Join(term.Wrap(c.text, 5), "|"); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}
