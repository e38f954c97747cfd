package dnsclient

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// cnames returns a chain of n links l0, l1, … to a name with a TXT record.
func cnames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "l%d.example.com 100 CNAME l%d.example.com\n", i, i+1)
	}
	fmt.Fprintf(&b, "l%d.example.com 200 TXT end\n", n)
	return b.String()
}

// halfWay answers as a server that does not follow CNAMEs: with the first record only.
func halfWay(q *dnstest.Query) {
	if len(q.Reply.Answer) > 1 {
		q.Reply.Answer = q.Reply.Answer[:1]
	}
	q.Reply.Ns, q.Reply.Rcode = nil, dns.RcodeSuccess
	q.Send()
}

func TestChains(t *testing.T) {
	end := Answer[string]{Records: []string{"end"}, TTL: 100 * time.Second}
	for _, tc := range []struct {
		why     string
		zone    string
		hook    dnstest.Hook // for every question; nil: the zone answers
		want    Answer[string]
		queries int
		target  string
	}{
		{"within one answer", cnames(3), nil, end, 1, "l3.example.com"},
		{"8 links within one answer", cnames(8), nil, end, 1, "l8.example.com"},
		{"across answers", cnames(3), halfWay, end, 4, "l3.example.com"},
		{"8 links across answers", cnames(8), halfWay, end, 9, "l8.example.com"},
		{"smallest TTL of the chain",
			"l0.example.com 300 CNAME a.example.com\na.example.com 7 CNAME b.example.com\nb.example.com 60 TXT end",
			nil,
			Answer[string]{Records: []string{"end"}, TTL: 7 * time.Second}, 1, "b.example.com"},
		{"records before the CNAMEs that lead to them", "", dnstest.Records(
			"c.example.com 50 TXT end\nb.example.com 60 CNAME c.example.com\nl0.example.com 60 CNAME b.example.com"),
			Answer[string]{Records: []string{"end"}, TTL: 50 * time.Second}, 1, "c.example.com"},
		{"any case on the way", "", dnstest.Records("L0.Example.com 60 CNAME A.example.COM\na.EXAMPLE.com 60 TXT end"),
			Answer[string]{Records: []string{"end"}, TTL: 60 * time.Second}, 1, "a.example.com"},
		{"a DNAME's CNAME", "", dnstest.Records(
			"example.com 60 DNAME example.net\nl0.example.com 0 CNAME l0.example.net\nl0.example.net 60 TXT end"),
			Answer[string]{Records: []string{"end"}}, 1, "l0.example.net"},
		{"records of names outside the chain do not count", "", dnstest.Records(
			"other.example.com 1 TXT forged\nl0.example.com 60 TXT end\nother.example.com 1 TXT forged"),
			Answer[string]{Records: []string{"end"}, TTL: 60 * time.Second}, 1, ""},
		{"nor other types", "", dnstest.Records("l0.example.com 1 A 192.0.2.1\nl0.example.com 60 TXT end"),
			Answer[string]{Records: []string{"end"}, TTL: 60 * time.Second}, 1, ""},
		{"nor other classes", "", dnstest.Records("l0.example.com 1 CH TXT forged\nl0.example.com 60 TXT end"),
			Answer[string]{Records: []string{"end"}, TTL: 60 * time.Second}, 1, ""},
		{"a name with records beside its CNAME", "",
			dnstest.Records("l0.example.com 1 CNAME a.example.com\nl0.example.com 60 TXT end"),
			Answer[string]{Records: []string{"end"}, TTL: 60 * time.Second}, 1, ""},
		{"two CNAMEs, which is forbidden: the first", "", dnstest.Records(
			"l0.example.com 60 CNAME a.example.com\nl0.example.com 60 CNAME b.example.com\na.example.com 60 TXT " +
				"end\nb.example.com 60 TXT other"),
			Answer[string]{Records: []string{"end"}, TTL: 60 * time.Second}, 1, "a.example.com"},
		{"the end does not exist", "l0.example.com 20 CNAME gone.example.com", nil,
			Answer[string]{Denial: NXDomain, TTL: 20 * time.Second}, 1, "gone.example.com"},
		{"the end has no such records", "l0.example.com 100 CNAME a.example.com\na.example.com A 192.0.2.1", nil,
			Answer[string]{Denial: NoData, TTL: 60 * time.Second}, 1, "a.example.com"},
		{"an end without records, denied without a SOA, is asked once more", "", dnstest.Each(func(q *dnstest.Query) {
			if q.Name == "l0.example.com" {
				q.Reply.Answer = dnstest.RRs("l0.example.com 100 CNAME a.example.com")
			}
			q.Reply.Rcode, q.Reply.Ns = dns.RcodeSuccess, nil
			q.Send()
		}), Answer[string]{Denial: NoData}, 2, "a.example.com"},
		{"a TTL with the top bit set is none", "", dnstest.Records("l0.example.com 2147483648 TXT end"),
			Answer[string]{Records: []string{"end"}}, 1, ""},
		{"longest TTL", "", dnstest.Records("l0.example.com 2147483647 TXT end"),
			Answer[string]{Records: []string{"end"}, TTL: 2147483647 * time.Second}, 1, ""},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, tc.zone)
			if tc.hook != nil {
				srv.On("*", dns.TypeTXT, tc.hook)
			}
			got, err := c.TXT(t.Context(), "l0.example.com")
			tc.want.Target = tc.target
			check(t, got, err, tc.want)
			if n := srv.Total(); n != tc.queries {
				t.Errorf("%d questions, want %d", n, tc.queries)
			}
		})
	}
}

func TestEndlessChains(t *testing.T) {
	const loop = "l0.example.com CNAME a.example.com\na.example.com CNAME b.example.com\nb.example.com CNAME " +
		"a.example.com"
	for _, tc := range []struct {
		why  string
		zone string
		hook dnstest.Hook
		most int // questions
	}{
		{"loop within one answer", loop, dnstest.Answer, 1},
		{"loop across answers", loop, halfWay, 3},
		{"alias of itself", "l0.example.com CNAME L0.example.com", dnstest.Answer, 1},
		{"9 links within one answer", cnames(9), dnstest.Answer, 1},
		{"9 links across answers", cnames(9), halfWay, 9},
		{"no end at all", "", func(q *dnstest.Query) {
			q.Reply.Rcode, q.Reply.Ns = dns.RcodeSuccess, nil
			q.Reply.Answer = dnstest.RRs(fmt.Sprintf("%s CNAME x%s", q.Name, q.Name))
			q.Send()
		}, 9},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, tc.zone)
			srv.On("*", dns.TypeTXT, tc.hook)
			got, err := c.TXT(t.Context(), "l0.example.com")
			checkKind(t, err, CNAMELoop)
			if !reflect.DeepEqual(got, Answer[string]{}) {
				t.Errorf("got %+v beside the error", got)
			}
			if n := srv.Total(); n != tc.most {
				t.Errorf("%d questions, want %d: no other attempt can help", n, tc.most)
			}
		})
	}
}

func TestAuthentic(t *testing.T) {
	const zone = "l0.example.com CNAME l1.example.com\nl1.example.com TXT end"
	unproven := func(name string) dnstest.Hook {
		return func(q *dnstest.Query) {
			q.Reply.AuthenticatedData = q.Name != name
			halfWay(q)
		}
	}
	// 0.0.0.0 reaches the same server as 127.0.0.1 but is not a loopback address.
	for _, tc := range []struct {
		why   string
		ad    bool
		hook  dnstest.Hook
		name  string
		host  string
		trust bool
		want  bool
	}{
		{"a loopback server is believed", true, nil, "l0.example.com", "127.0.0.1", false, true},
		{"it says no", false, nil, "l0.example.com", "127.0.0.1", false, false},
		{"saying no is believed whatever the trust", false, nil, "l0.example.com", "127.0.0.1", true, false},
		{"a remote server is not believed", true, nil, "l0.example.com", "0.0.0.0", false, false},
		{"unless the administrator says so", true, nil, "l0.example.com", "0.0.0.0", true, true},
		{"denials are judged too", true, dnstest.Answer, "gone.example.com", "127.0.0.1", false, true},
		{"both answers of a chain", true, unproven(""), "l0.example.com", "127.0.0.1", false, true},
		{"first answer of a chain unproven", true, unproven("l0.example.com"), "l0.example.com", "127.0.0.1", false,
			false},
		{"last answer of a chain unproven", true, unproven("l1.example.com"), "l0.example.com", "127.0.0.1", false,
			false},
		{"truncated: the answer over TCP counts", true, dnstest.Truncate, "l0.example.com", "127.0.0.1", false, true},
	} {
		t.Run(tc.why, func(t *testing.T) {
			srv := dnstest.New(t, dnstest.Config{Zone: zone, AD: tc.ad, Strict: true})
			if tc.hook != nil {
				srv.On("*", dns.TypeTXT, tc.hook)
			}
			addr := strings.Replace(srv.Addr(), "127.0.0.1", tc.host, 1)
			c := newClient(t, Config{Servers: []string{addr}, TrustAD: tc.trust})
			got, err := c.TXT(t.Context(), tc.name)
			if err != nil || got.Authentic != tc.want {
				t.Errorf("got authentic %v, %v, want %v", got.Authentic, err, tc.want)
			}
			if want := tc.host == "127.0.0.1" || tc.trust; c.AuthenticServers() != want {
				t.Errorf("AuthenticServers: got %v, want %v", !want, want)
			}
		})
	}
}
