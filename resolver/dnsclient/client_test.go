package dnsclient

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Timeouts of an attempt: longTimeout if it ends by itself, shortTimeout if it must time out, mediumTimeout if
// something must happen before it times out.
const (
	longTimeout   = testkit.Hang
	shortTimeout  = 150 * time.Millisecond
	mediumTimeout = 10 * shortTimeout
)

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = longTimeout
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newTestClient returns a client of one strict server with a zone.
func newTestClient(t *testing.T, zone string) (*Client, *dnstest.Server) {
	t.Helper()
	srv := dnstest.New(t, dnstest.Config{Zone: zone, Strict: true})
	return newClient(t, Config{Servers: []string{srv.Addr()}}), srv
}

func check[T any](t *testing.T, got Answer[T], err error, want Answer[T]) {
	t.Helper()
	if err != nil {
		t.Errorf("got error %v, want %+v", err, want)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// checkKind checks the kind of the error and returns it as an *Error.
func checkKind(t *testing.T, err error, want Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want an *Error of kind %v", err, want)
	}
	if e.Kind != want {
		t.Errorf("got kind %v (%v), want %v", e.Kind, e, want)
	}
	return e
}

func TestTXT(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, tc := range []struct {
		why, zone string
		want      []string
	}{
		{"one string", `example.com TXT "v=STSv1; id=1"`, []string{"v=STSv1; id=1"}},
		{"strings are joined without spaces", `example.com TXT "v=STS" "v1; id=" "1"`, []string{"v=STSv1; id=1"}},
		{"two records stay two", "example.com TXT \"a\"\nexample.com TXT \"b\"", []string{"a", "b"}},
		{"quotes and backslashes are the bytes they are", `example.com TXT "a\"b\\c"`, []string{`a"b\c`}},
		{"bytes outside ASCII too", `example.com TXT "\000\195\164\255\065"`, []string{"\x00ä\xffA"}},
		{"an escape never spans two strings", `example.com TXT "a\\" "065"`, []string{`a\065`}},
		{"an empty string is a record", `example.com TXT ""`, []string{""}},
		{"longest strings", fmt.Sprintf("example.com TXT %q %q", long, long), []string{long + long}},
	} {
		c, _ := newTestClient(t, tc.zone)
		got, err := c.TXT(t.Context(), "example.com")
		if err != nil || !reflect.DeepEqual(got.Records, tc.want) {
			t.Errorf("%s: got %q, %v, want %q", tc.why, got.Records, err, tc.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	c, _ := newTestClient(t, `
		example.com 60 A 192.0.2.1
		example.com 30 A 192.0.2.2
		example.com 90 AAAA 2001:db8::1
		example.com 80 AAAA ::ffff:127.0.0.1`)
	a, err := c.A(t.Context(), "example.com")
	check(t, a, err, Answer[netip.Addr]{
		Records: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
		TTL:     30 * time.Second,
	})
	aaaa, err := c.AAAA(t.Context(), "example.com")
	check(t, aaaa, err, Answer[netip.Addr]{
		Records: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:127.0.0.1")},
		TTL:     80 * time.Second,
	})
}

func TestMX(t *testing.T) {
	for _, tc := range []struct {
		why, zone string
		want      []MX
	}{
		{"most preferred first",
			"example.com MX 20 b.example.com\nexample.com MX 5 a.example.com\nexample.com MX 65535 c.example.com",
			[]MX{{5, "a.example.com"}, {20, "b.example.com"}, {65535, "c.example.com"}}},
		{"equals in the server's order",
			"example.com MX 10 b.example.com\nexample.com MX 5 z.example.com\nexample.com MX 10 a.example.com",
			[]MX{{5, "z.example.com"}, {10, "b.example.com"}, {10, "a.example.com"}}},
		{"lower case", "example.com MX 10 MAIL.Example.COM", []MX{{10, "mail.example.com"}}},
		{"null MX", "example.com MX 0 .", []MX{{0, ""}}},
		{"no host name at all stays escaped", `example.com MX 10 a\.b\000c.example.com`,
			[]MX{{10, `a\.b\000c.example.com`}}},
	} {
		c, _ := newTestClient(t, tc.zone)
		got, err := c.MX(t.Context(), "example.com")
		if err != nil || !reflect.DeepEqual(got.Records, tc.want) {
			t.Errorf("%s: got %v, %v, want %v", tc.why, got.Records, err, tc.want)
		}
	}
}

func TestTLSA(t *testing.T) {
	c, _ := newTestClient(t, `
		_25._tcp.mail.example.com 40 TLSA 3 1 1 00ff10
		_25._tcp.mail.example.com 40 TLSA 2 0 0 ab`)
	got, err := c.TLSA(t.Context(), "_25._tcp.mail.example.com")
	check(t, got, err, Answer[TLSA]{
		Records: []TLSA{{3, 1, 1, []byte{0, 0xff, 0x10}}, {2, 0, 0, []byte{0xab}}}, TTL: 40 * time.Second})
}

func TestDuplicatesAndBound(t *testing.T) {
	c, srv := newTestClient(t, "")
	srv.On("example.com", dns.TypeTXT, dnstest.Records("example.com TXT a\nexample.com TXT b\nexample.com TXT a"))
	got, err := c.TXT(t.Context(), "example.com")
	check(t, got, err, Answer[string]{Records: []string{"a", "b"}, TTL: 300 * time.Second})

	srv.On("example.com", dns.TypeTLSA, dnstest.Records("example.com TLSA 3 1 1 aa\nexample.com TLSA 3 1 1 aa"))
	tlsa, err := c.TLSA(t.Context(), "example.com")
	check(t, tlsa, err, Answer[TLSA]{Records: []TLSA{{3, 1, 1, []byte{0xaa}}}, TTL: 300 * time.Second})

	var zone strings.Builder
	for i := range maxRecords + 100 {
		fmt.Fprintf(&zone, "example.com MX 10 mx%d.example.com\n", i)
	}
	srv.Set("example.com", dns.TypeMX, zone.String())
	mx, err := c.MX(t.Context(), "example.com")
	if err != nil || len(mx.Records) != maxRecords {
		t.Errorf("got %d records, %v, want the first %d", len(mx.Records), err, maxRecords)
	}
}

func TestDenials(t *testing.T) {
	const soa = "example.com 900 SOA ns.example.com. h.example.com. 1 2 3 4 "
	for _, tc := range []struct {
		why  string
		hook dnstest.Hook // nil: the zone answers
		zone string
		want Answer[string]
	}{
		{"NXDOMAIN, the SOA's TTL is the smaller", nil, soa + "1200",
			Answer[string]{Denial: NXDomain, TTL: 900 * time.Second}},
		{"NXDOMAIN, MINIMUM is the smaller", nil, soa + "60", Answer[string]{Denial: NXDomain, TTL: 60 * time.Second}},
		{"the name exists with other types", nil, soa + "60\n_mta-sts.example.com A 192.0.2.1",
			Answer[string]{Denial: NoData, TTL: 60 * time.Second}},
		{"the name exists for what is below it", nil, soa + "60\na._mta-sts.example.com A 192.0.2.1",
			Answer[string]{Denial: NoData, TTL: 60 * time.Second}},
		{"no SOA", dnstest.Edit(func(m *dns.Msg) { m.Ns = nil }), "", Answer[string]{Denial: NXDomain}},
		{"nothing at all", dnstest.Records(""), "", Answer[string]{Denial: NoData}},
		{"a SOA of another zone says nothing", authority("other.example 900 SOA ns. h. 1 2 3 4 60"), "",
			Answer[string]{Denial: NoData}},
		{"a SOA beside the NS of its zone", authority("example.com NS ns.example.com\n" + soa + "70"), "",
			Answer[string]{Denial: NoData, TTL: 70 * time.Second}},
		{"NS without a SOA, from a recursive resolver (RFC 2308 section 2.2)",
			authority("example.com NS ns.example.com"), "", Answer[string]{Denial: NoData}},
		{"other records, but denied",
			dnstest.Edit(func(m *dns.Msg) { m.Answer = dnstest.RRs("other.example TXT forged") }), soa + "60",
			Answer[string]{Denial: NXDomain, TTL: 60 * time.Second}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, tc.zone)
			if tc.hook == nil {
				tc.hook = dnstest.Answer
			}
			srv.On("_mta-sts.example.com", dns.TypeTXT, tc.hook)
			got, err := c.TXT(t.Context(), "_mta-sts.example.com")
			check(t, got, err, tc.want)
		})
	}
}

// authority answers NOERROR with only an authority section.
func authority(text string) dnstest.Hook {
	rrs := dnstest.RRs(text)
	return dnstest.Edit(func(m *dns.Msg) { m.Rcode, m.Answer, m.Ns = dns.RcodeSuccess, nil, rrs })
}

// referral is authority from a server that is not recursive.
func referral(text string) dnstest.Hook {
	return func(q *dnstest.Query) {
		q.Reply.RecursionAvailable = false
		authority(text)(q)
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		why, name, asked string
	}{
		{"as it is", "example.com", "example.com"},
		{"final dot", "example.com.", "example.com"},
		{"any case", "EXAMPLE.com", "example.com"},
		{"underscores", "_25._tcp.example.com", "_25._tcp.example.com"},
		{"an escaped dot is part of a label", `a\.b.example.com`, `a\.b.example.com`},
		{"a needless escape means the same", `\101xample.com`, "example.com"},
		{"bytes outside ASCII", "ä.example.com", `\195\164.example.com`},
		{"longest label", strings.Repeat("a", 63) + ".com", strings.Repeat("a", 63) + ".com"},
		{"longest name", strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a"},
	} {
		c, srv := newTestClient(t, tc.asked+` TXT "x"`)
		got, err := c.TXT(t.Context(), tc.name)
		check(t, got, err, Answer[string]{Records: []string{"x"}, TTL: 300 * time.Second})
		if n := srv.Count(tc.asked, dns.TypeTXT); n != 1 {
			t.Errorf("%s: %q was asked %d times", tc.why, tc.asked, n)
		}
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	for _, tc := range []struct{ why, name string }{
		{"empty", ""},
		{"empty label", "a..example.com"},
		{"leading dot", ".example.com"},
		{"label too long", strings.Repeat("a", 64) + ".com"},
		{"name one byte too long", strings.Repeat("a.", 126) + "aa"},
		{"ends in an escape", `example.com\`},
		{"far too long", strings.Repeat("a.", 10000)},
	} {
		c, srv := newTestClient(t, "")
		got, err := c.TXT(t.Context(), tc.name)
		check(t, got, err, Answer[string]{Denial: NXDomain})
		if srv.Total() != 0 {
			t.Errorf("%s: was asked", tc.why)
		}
	}
}

func TestNewErrors(t *testing.T) {
	for _, tc := range []struct {
		why  string
		cfg  Config
		want string // in the error
	}{
		{"names the server's text", Config{Servers: []string{"192.0.2.1", "dns.example"}}, `"dns.example"`},
		{"negative timeout", Config{Timeout: -time.Second}, "dns timeout -1s"},
		{"negative attempts", Config{Attempts: -2}, "dns attempts -2"},
	} {
		_, err := New(tc.cfg)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want %q in it", tc.why, err, tc.want)
		}
	}
}
