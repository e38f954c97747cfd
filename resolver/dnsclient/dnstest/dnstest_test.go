package dnstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exchange sends a question with the library's client; flags may change it.
func exchange(t *testing.T, s *Server, network, name string, qtype uint16, flags ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	for _, f := range flags {
		f(m)
	}
	c := dns.Client{Net: network, Timeout: testkit.Hang, UDPSize: dns.MaxMsgSize}
	r, _, err := c.Exchange(m, s.Addr())
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.Type(qtype), err)
	}
	return r
}

// summary returns rcode, answers and authority in one line.
func summary(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		s += " | " + strings.Join(strings.Fields(rr.String()), " ")
	}
	for _, rr := range m.Ns {
		s += fmt.Sprintf(" | authority %s %d", rr.Header().Name, rr.Header().Ttl)
	}
	return s
}

func TestZone(t *testing.T) {
	s := New(t, Config{NegativeTTL: 5 * time.Second, Zone: `
		example.com      60 MX 10 mail.example.com.
		mail.example.com 60 A 192.0.2.1
		alias.example.com   CNAME mail.example.com
		half.example.com    CNAME elsewhere.example
		loop.example.com    CNAME loop.example.com
		deep.er.example.com A 192.0.2.2
		*.wild.example.com  60 TXT "any"
		zone.example 7 SOA ns h 1 2 3 4 6`})
	for _, tc := range []struct {
		why, name string
		qtype     uint16
		want      string
	}{
		{"a record", "mail.example.com.", dns.TypeA, "NOERROR | mail.example.com. 60 IN A 192.0.2.1"},
		{"any case", "MAIL.example.COM.", dns.TypeA, "NOERROR | mail.example.com. 60 IN A 192.0.2.1"},
		{"default TTL, CNAME followed", "alias.example.com.", dns.TypeA,
			"NOERROR | alias.example.com. 300 IN CNAME mail.example.com. | mail.example.com. 60 IN A 192.0.2.1"},
		{"CNAME to a name without such records", "alias.example.com.", dns.TypeTXT,
			"NOERROR | alias.example.com. 300 IN CNAME mail.example.com. | authority . 5"},
		{"CNAME to nowhere", "half.example.com.", dns.TypeA,
			"NXDOMAIN | half.example.com. 300 IN CNAME elsewhere.example. | authority . 5"},
		{"no such type", "example.com.", dns.TypeA, "NOERROR | authority . 5"},
		{"no such name", "gone.example.com.", dns.TypeA, "NXDOMAIN | authority . 5"},
		{"exists for what is below", "er.example.com.", dns.TypeA, "NOERROR | authority . 5"},
		{"wildcard", "a.b.wild.example.com.", dns.TypeTXT, `NOERROR | a.b.wild.example.com. 60 IN TXT "any"`},
		{"wildcard without such records", "a.wild.example.com.", dns.TypeA, "NOERROR | authority . 5"},
		{"a zone's own SOA", "gone.zone.example.", dns.TypeA, "NXDOMAIN | authority zone.example. 7"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := summary(exchange(t, s, network, tc.name, tc.qtype)); got != tc.want {
				t.Errorf("%s over %s: got %s, want %s", tc.why, network, got, tc.want)
			}
		}
	}
	if got := exchange(t, s, "tcp", "loop.example.com.", dns.TypeA); len(got.Answer) != maxChain {
		t.Errorf("a loop gave %d records, want %d", len(got.Answer), maxChain)
	}
}

func TestChanges(t *testing.T) {
	s := New(t, Config{Zone: "a.example TXT one"})
	ask := func() string { return summary(exchange(t, s, "udp", "a.example.", dns.TypeTXT)) }
	for _, tc := range []struct {
		why    string
		change func()
		want   string
	}{
		{"start", func() {}, `NOERROR | a.example. 300 IN TXT "one"`},
		{"added, without duplicates", func() { s.Add("a.example TXT one\na.example TXT two") },
			`NOERROR | a.example. 300 IN TXT "one" | a.example. 300 IN TXT "two"`},
		{"set", func() { s.Set("A.example", dns.TypeTXT, "a.example 1 TXT three") },
			`NOERROR | a.example. 1 IN TXT "three"`},
		{"removed", func() { s.Set("a.example", dns.TypeTXT, "") }, "NXDOMAIN | authority . 60"},
		{"negative TTL", func() { s.SetNegativeTTL(9 * time.Second) }, "NXDOMAIN | authority . 9"},
		{"no SOA", func() { s.SetNegativeTTL(-1) }, "NXDOMAIN"},
		{"all replaced", func() { s.SetZone("a.example 2 TXT four") }, `NOERROR | a.example. 2 IN TXT "four"`},
	} {
		tc.change()
		if got := ask(); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.why, got, tc.want)
		}
	}
}

func TestTruncation(t *testing.T) {
	s := New(t, Config{Zone: fmt.Sprintf("a.example TXT %[1]s %[1]s %[1]s", strings.Repeat("x", 250))})
	edns := func(size uint16) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, false) } }
	for _, tc := range []struct {
		why, network string
		flags        []func(*dns.Msg)
		truncated    bool
	}{
		{"512 bytes without EDNS0", "udp", nil, true},
		{"size of the question", "udp", []func(*dns.Msg){edns(700)}, true},
		{"it fits", "udp", []func(*dns.Msg){edns(1232)}, false},
		{"TCP", "tcp", nil, false},
	} {
		r := exchange(t, s, tc.network, "a.example.", dns.TypeTXT, tc.flags...)
		if r.Truncated != tc.truncated || (len(r.Answer) == 0) != tc.truncated ||
			(r.IsEdns0() != nil) != (tc.flags != nil) {
			t.Errorf("%s: got %v", tc.why, r)
		}
	}
}

func TestAD(t *testing.T) {
	s := New(t, Config{AD: true, Zone: "a.example TXT x"})
	ad := func(m *dns.Msg) { m.AuthenticatedData = true }
	do := func(m *dns.Msg) { m.SetEdns0(1232, true) }
	if exchange(t, s, "udp", "a.example.", dns.TypeTXT).AuthenticatedData {
		t.Error("AD in an answer to a question without AD and DO")
	}
	if !exchange(t, s, "udp", "a.example.", dns.TypeTXT, ad).AuthenticatedData ||
		!exchange(t, s, "udp", "a.example.", dns.TypeTXT, do).AuthenticatedData {
		t.Error("no AD in an answer to a question with AD or DO")
	}
	s.SetAD(false)
	if exchange(t, s, "udp", "a.example.", dns.TypeTXT, ad).AuthenticatedData {
		t.Error("AD after SetAD(false)")
	}
}

func TestHooksInTurn(t *testing.T) {
	s := New(t, Config{Zone: "a.example TXT x"})
	rcode := func(name string, qtype uint16) string {
		return dns.RcodeToString[exchange(t, s, "udp", name, qtype).Rcode]
	}
	s.On("a.example", dns.TypeTXT, ServFail, Rcode(dns.RcodeRefused), Answer)
	for i, want := range []string{"SERVFAIL", "REFUSED", "NOERROR", "NOERROR"} {
		if got := rcode("a.example.", dns.TypeTXT); got != want {
			t.Errorf("question %d: got %s, want %s", i+1, got, want)
		}
	}
	s.On("*", dns.TypeANY, Rcode(1))
	s.On("*", dns.TypeMX, Rcode(2))
	s.On("b.example", dns.TypeANY, Rcode(4))
	s.On("b.example", dns.TypeA, Rcode(5))
	for _, tc := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"c.example.", dns.TypeA, "FORMERR"}, {"c.example.", dns.TypeMX, "SERVFAIL"},
		{"b.example.", dns.TypeMX, "NOTIMP"}, {"b.example.", dns.TypeA, "REFUSED"},
	} {
		if got := rcode(tc.name, tc.qtype); got != tc.want {
			t.Errorf("%s %s: got %s, want %s", tc.name, dns.Type(tc.qtype), got, tc.want)
		}
	}
	s.On("b.example", dns.TypeA)
	if got := rcode("b.example.", dns.TypeA); got != "NOTIMP" {
		t.Errorf("after the hook was removed: got %s", got)
	}
}

// complaints is a T that records errors.
type complaints struct {
	T
	texts []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.texts = append(c.texts, fmt.Sprintf(format, args...))
}

func TestStrict(t *testing.T) {
	c := &complaints{T: t}
	s := New(c, Config{Strict: true, Zone: "a.example TXT x\nb.example CNAME a.example"})
	s.On("gone.example", dns.TypeTXT, Answer)
	for _, tc := range []struct {
		why, name string
		qtype     uint16
		want      string
	}{
		{"a record", "a.example.", dns.TypeTXT, "NOERROR"},
		{"a CNAME", "b.example.", dns.TypeTXT, "NOERROR"},
		{"a hook", "gone.example.", dns.TypeTXT, "NXDOMAIN"},
		{"another type", "a.example.", dns.TypeA, "REFUSED"},
		{"another name", "c.example.", dns.TypeTXT, "REFUSED"},
	} {
		if got := dns.RcodeToString[exchange(t, s, "udp", tc.name, tc.qtype).Rcode]; got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.why, got, tc.want)
		}
	}
	want := "[a.example A over udp c.example TXT over udp]"
	if got := fmt.Sprint(s.Unexpected()); got != want {
		t.Errorf("unexpected: got %s, want %s", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(c.texts) != 2 || !strings.Contains(c.texts[0], "a.example A") {
		t.Errorf("complaints to the test: %q", c.texts)
	}
}

func TestCounts(t *testing.T) {
	s := New(t, Config{Zone: "a.example TXT x"})
	exchange(t, s, "udp", "a.example.", dns.TypeTXT)
	exchange(t, s, "tcp", "A.example.", dns.TypeTXT)
	exchange(t, s, "udp", "a.example.", dns.TypeA)
	if s.Count("a.example.", dns.TypeTXT) != 2 || s.Count("A.EXAMPLE", dns.TypeA) != 1 || s.Total() != 3 {
		t.Errorf("counts: %v", s.Questions())
	}
	if err := s.Wait(t.Context(), "a.example", dns.TypeTXT, 2); err != nil {
		t.Errorf("Wait: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx, "a.example", dns.TypeTXT, 3); err != context.DeadlineExceeded {
		t.Errorf("Wait for what does not come: %v", err)
	}
	s.Reset()
	if s.Total() != 0 || len(s.Questions()) != 0 {
		t.Error("Reset left something")
	}
}

func TestCloseFreesHooks(t *testing.T) {
	s, err := Start(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.On("*", dns.TypeA, Hold(nil, Answer))
	s.On("*", dns.TypeMX, After(time.Hour, Answer))
	failed := make(chan error)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeMX} {
		go func() {
			c := dns.Client{Net: "tcp", Timeout: testkit.Hang}
			_, _, err := c.Exchange(new(dns.Msg).SetQuestion("a.example.", qtype), s.Addr())
			failed <- err
		}()
		if err := s.Wait(t.Context(), "a.example", qtype, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-failed; err == nil {
			t.Error("a held question was answered")
		}
	}
}

func TestMistakes(t *testing.T) {
	if s, err := Start(Config{Zone: "a.example NOSUCHTYPE x"}); err == nil {
		t.Errorf("a bad zone: %v", s.Close())
	}
	one := New(t, Config{})
	if s, err := Start(Config{Addr: one.Addr()}); err == nil {
		t.Errorf("an address in use: %v", s.Close())
	}
	for why, f := range map[string]func(){
		"Add of rubbish":        func() { one.Add("rubbish") },
		"Set of another type":   func() { one.Set("a.example", dns.TypeA, "a.example TXT x") },
		"Records that are none": func() { Records("a.example A not-an-address") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", why)
				}
			}()
			f()
		}()
	}
}
