package dnsclient

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// newDNSSECClients returns a plain client of one server, and one that sets the DO bit.
func newDNSSECClients(t *testing.T, zone string, hook dnstest.Hook) (plain, secure *Client, srv *dnstest.Server) {
	t.Helper()
	srv = dnstest.New(t, dnstest.Config{Zone: zone, AD: true})
	srv.On("*", dns.TypeANY, hook)
	plain = newClient(t, Config{Servers: []string{srv.Addr()}})
	return plain, plain.WithDNSSEC(), srv
}

// TestDNSSECQuestions: a client with DNSSEC sets DO and AD, and the client that it is made from does not change.
func TestDNSSECQuestions(t *testing.T) {
	plain, secure, srv := newDNSSECClients(t, "", dnstest.Answer)
	for _, c := range []struct {
		client *Client
		do     bool
	}{{secure, true}, {plain, false}} {
		srv.Reset()
		_, _ = c.client.MX(t.Context(), "example.com")
		_, _ = c.client.A(t.Context(), "example.com")
		_, _ = c.client.AAAA(t.Context(), "example.com")
		_, _ = c.client.TLSA(t.Context(), "_25._tcp.example.com")
		asked := srv.Questions()
		if len(asked) != 4 {
			t.Errorf("%d questions %v, want 4", len(asked), asked)
		}
		for _, q := range asked {
			if q.DO != c.do || !q.Header.AuthenticatedData || q.Header.CheckingDisabled || q.UDPSize != ednsSize {
				t.Errorf("question %+v: want DO %v, AD, no CD, %d bytes", q, c.do, ednsSize)
			}
		}
	}
}

// TestADOnlyForDO: some resolvers set AD only in answers to questions with the DO bit.
func TestADOnlyForDO(t *testing.T) {
	plain, secure, _ := newDNSSECClients(t, "_25._tcp.example.com TLSA 3 1 1 abcd", dnstest.OnlyDO)
	for _, name := range []string{"_25._tcp.example.com", "_25._tcp.gone.example.com"} {
		for client, want := range map[*Client]bool{plain: false, secure: true} {
			if a, err := client.TLSA(t.Context(), name); err != nil || a.Authentic != want {
				t.Errorf("%s: authentic %v, %v, want %v", name, a.Authentic, err, want)
			}
		}
	}
}

// TestSignedAnswers: signatures change only the size of an answer.
func TestSignedAnswers(t *testing.T) {
	many := func(n int) string {
		var zone strings.Builder
		for i := range n {
			fmt.Fprintf(&zone, "l0.example.com A 192.0.2.%d\n", i)
		}
		return zone.String()
	}
	chain := func(links int) string {
		return strings.ReplaceAll(cnames(links), "TXT end", "A 192.0.2.1")
	}
	bare := dnstest.BareRcode(dns.RcodeFormatError)
	for _, tc := range []struct {
		why  string
		zone string
		hook dnstest.Hook
		nets string // of the question with DO; "+" is EDNS0
	}{
		{"one address", many(1), dnstest.Signed, "udp+"},
		{"several", many(20), dnstest.Signed, "udp+"},
		{"so many that the signature does not fit in", many(70), dnstest.Signed, "udp+ tcp+"},
		{"a chain with signatures between", chain(2), dnstest.Signed, "udp+"},
		{"a chain too long for UDP", chain(5), dnstest.Signed, "udp+ tcp+"},
		{"a chain across answers", chain(2), dnstest.Each(func(q *dnstest.Query) {
			q.Reply.Answer, q.Reply.Ns, q.Reply.Rcode = q.Reply.Answer[:1], nil, dns.RcodeSuccess
			dnstest.Signed(q)
		}), "udp+ udp+ udp+"},
		{"signatures before what they sign", chain(1), func(q *dnstest.Query) {
			send := q.Reply.Answer
			q.Reply.Answer = nil
			for _, rr := range send {
				q.Reply.Answer = append([]dns.RR{rr}, q.Reply.Answer...)
			}
			dnstest.Signed(q)
		}, "udp+"},
		{"a name that does not exist", "", dnstest.Signed, "udp+"},
		{"a name without addresses", "l0.example.com TXT text", dnstest.Signed, "udp+"},
		{"an alias of one that does not exist", "l0.example.com CNAME gone.example.com", dnstest.Signed, "udp+"},
		{"truncated", many(1), dnstest.Truncate, "udp+ tcp+"},
		{"a server that knows no EDNS0", many(1), func(q *dnstest.Query) {
			if q.EDNS {
				bare(q)
				return
			}
			dnstest.Signed(q)
		}, "udp+ udp"},
	} {
		t.Run(tc.why, func(t *testing.T) {
			plain, secure, srv := newDNSSECClients(t, tc.zone, tc.hook)
			want, err := plain.A(t.Context(), "l0.example.com")
			if err != nil {
				t.Fatal(err)
			}
			srv.Reset()
			got, err := secure.A(t.Context(), "l0.example.com")
			check(t, got, err, want)
			if !got.Authentic {
				t.Error("not authentic")
			}
			if nets := netsOf(srv); nets != tc.nets {
				t.Errorf("questions %q, want %q", nets, tc.nets)
			}
		})
	}
}

// TestSignatureAlone: a signature is neither a record nor a denial.
func TestSignatureAlone(t *testing.T) {
	_, secure, srv := newDNSSECClients(t, "example.com A 192.0.2.1", func(q *dnstest.Query) {
		q.Reply.Answer = dnstest.RRs("example.com RRSIG A 8 2 300 20380119031407 19700101000001 1 example.com. AAAA")
		q.Send()
	})
	_, err := secure.A(t.Context(), "example.com")
	checkKind(t, err, Malformed)
	srv.On("*", dns.TypeANY, dnstest.Signed)
	if a, err := secure.A(t.Context(), "example.com"); err != nil || len(a.Records) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestWhoIsBelieved: the AD bit of a resolver is believed if it runs on this host or the administrator trusts it.
func TestWhoIsBelieved(t *testing.T) {
	for _, c := range []struct {
		server     string
		itself     bool // without trust
		overridden bool // with TrustAD
	}{
		{"127.0.0.1", true, true},
		{"127.0.0.53", true, true},
		{"127.0.0.53:5353", true, true},
		{"::1", true, true},
		{"::ffff:127.0.0.1", true, true},
		{"127.0.0.11", false, true}, // Docker's forwarder
		{"127.0.0.11:53", false, true},
		{"::ffff:127.0.0.11", false, true},
		{"192.0.2.1", false, true},
		{"2001:db8::1", false, true},
	} {
		for trust, want := range map[bool]bool{false: c.itself, true: c.overridden} {
			if got := newClient(t, Config{
				Servers: []string{c.server}, TrustAD: trust}).AuthenticServers(); got != want {
				t.Errorf("%s, trust_ad %v: believed %v, want %v", c.server, trust, got, want)
			}
		}
	}
}

// TestValidates: a resolver validates where it sets the AD bit in its answer for the root's SOA, and is believed.
func TestValidates(t *testing.T) {
	const root = ". SOA a.example. b.example. 1 2 3 4 5"
	for _, c := range []struct {
		why  string
		zone string
		ad   bool
		want bool
	}{
		{"AD", root, true, true},
		{"no AD: it forwards, or validates nothing", root, false, false},
		{"no root, whatever the AD bit says", "example.com A 192.0.2.1", true, false},
	} {
		srv := dnstest.New(t, dnstest.Config{Zone: c.zone, AD: c.ad})
		client := newClient(t, Config{Servers: []string{srv.Addr()}}).WithDNSSEC()
		if got, err := client.Validates(t.Context()); got != c.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", c.why, got, err, c.want)
		}
	}
	srv := dnstest.New(t, dnstest.Config{Zone: root, AD: true})
	srv.On("*", dns.TypeANY, dnstest.ServFail)
	client := newClient(t, Config{Servers: []string{srv.Addr()}, Attempts: 1})
	if got, err := client.Validates(t.Context()); got || err == nil {
		t.Errorf("a resolver that fails: %v, %v, want an error", got, err)
	}
}
