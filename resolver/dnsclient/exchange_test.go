package dnsclient

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	asked   = "_mta-sts.example.com"
	zoneOne = asked + ` 300 TXT "v=STSv1; id=1"`
)

var answerOne = Answer[string]{Records: []string{"v=STSv1; id=1"}, TTL: 300 * time.Second}

func TestQuery(t *testing.T) {
	c, srv := newTestClient(t, zoneOne)
	const n = 20
	ids, ports := map[uint16]bool{}, map[string]bool{}
	for range n {
		got, err := c.TXT(t.Context(), asked)
		check(t, got, err, answerOne)
	}
	for _, q := range srv.Questions() {
		h := q.Header
		if q.Net != "udp" || !q.EDNS || q.UDPSize != 1232 || q.DO || !h.RecursionDesired || !h.AuthenticatedData ||
			h.CheckingDisabled {
			t.Errorf("question %+v: want UDP, EDNS0 with 1232 bytes and without DO, RD, AD, no CD", q)
		}
		_, port, _ := net.SplitHostPort(q.RemoteAddr)
		ids[h.Id], ports[port] = true, true
	}
	// Among 20 of 65,536 ids, or of the kernel's 28,000 ports, 5 repetitions do not occur by chance.
	if len(ids) < n-5 || len(ports) < n-5 {
		t.Errorf("%d questions with %d ids from %d ports: want a fresh id and port for each", n, len(ids), len(ports))
	}
}

// TestPortsOfQuestions: a forger who does not see a question must guess its port too, whatever was asked before. 2,000
// questions by 20 goroutines come from about as many ports as 2,000 draws of the kernel's range bring.
func TestPortsOfQuestions(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		testkit.Skip(t, err.Error())
	}
	var low, high float64
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		t.Fatal(err)
	}
	c, srv := newTestClient(t, zoneOne)
	const questions, askers = 2000, 20
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			for range questions / askers {
				got, err := c.TXT(t.Context(), asked)
				check(t, got, err, answerOne)
			}
		})
	}
	wg.Wait()
	ports := map[string]bool{}
	for _, q := range srv.Questions() {
		ports[q.RemoteAddr] = true
	}
	n := high - low + 1
	want := n * (1 - math.Pow(1-1/n, questions))
	t.Logf("%d questions from %d ports; drawn at random from %.0f: %.0f", questions, len(ports), n, want)
	if float64(len(ports)) < 0.9*want {
		t.Errorf("%d questions from %d ports, want about %.0f", questions, len(ports), want)
	}
}

func TestTransport(t *testing.T) {
	long := strings.Repeat("x", 250)
	big := fmt.Sprintf("%s TXT %[2]s %[2]s %[2]s %[2]s %[2]s", asked, long) // 1250 bytes: over 1232
	bare := func(rcode int) dnstest.Hook {
		return func(q *dnstest.Query) { // does not know EDNS0 and answers FORMERR with a bare header
			if q.EDNS {
				dnstest.BareRcode(rcode)(q)
				return
			}
			q.Send()
		}
	}
	for _, tc := range []struct {
		why  string
		zone string
		hook dnstest.Hook
		nets string // of the questions seen, in order; "+" is EDNS0
	}{
		{"plain", zoneOne, dnstest.Answer, "udp+"},
		{"truncated: asked again over TCP", zoneOne, dnstest.Truncate, "udp+ tcp+"},
		{"too long for UDP", big, dnstest.Answer, "udp+ tcp+"},
		{"truncated inside a record", zoneOne, func(q *dnstest.Query) {
			if q.Net == "udp" {
				q.Reply.Truncated = true
				dnstest.Raw(func(b []byte) []byte { return b[:len(b)-20] })(q)
				return
			}
			q.Send()
		}, "udp+ tcp+"},
		{"FORMERR: asked again without EDNS0", zoneOne, dnstest.NoEDNS(dns.RcodeFormatError), "udp+ udp"},
		{"NOTIMP: asked again without EDNS0", zoneOne, dnstest.NoEDNS(dns.RcodeNotImplemented), "udp+ udp"},
		{"FORMERR in a bare header", zoneOne, bare(dns.RcodeFormatError), "udp+ udp"},
		{"no EDNS0 over UDP, then none over TCP", zoneOne, dnstest.Each(func(q *dnstest.Query) {
			if q.EDNS {
				bare(dns.RcodeFormatError)(q)
				return
			}
			dnstest.Truncate(q)
		}), "udp+ udp tcp+ tcp"},
		{"a packet with another id first", zoneOne, forged(dnstest.WrongID), "udp+"},
		{"another name first", zoneOne, forged(dnstest.WrongName), "udp+"},
		{"another type first", zoneOne, forged(dnstest.WrongType), "udp+"},
		{"another class first", zoneOne, forged(dnstest.WrongClass), "udp+"},
		{"a question first", zoneOne, forged(dnstest.NotAResponse), "udp+"},
		{"an empty packet first", zoneOne,
			dnstest.Each(dnstest.Raw(func([]byte) []byte { return nil }), dnstest.Answer), "udp+"},
		{"garbage first", zoneOne,
			dnstest.Each(dnstest.Raw(func([]byte) []byte { return []byte("garbage that is no DNS message") }),
				dnstest.Answer), "udp+"},
		{"a denial in a bare header first", zoneOne, forged(dnstest.BareRcode(dns.RcodeNameError)), "udp+"},
		{"an empty success in a bare header first", zoneOne, forged(dnstest.BareRcode(dns.RcodeSuccess)), "udp+"},
		{"two questions first", zoneOne, forged(func(q *dnstest.Query) {
			q.Reply.Question = append(q.Reply.Question,
				dns.Question{Name: "other.example.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET})
			q.Send()
		}), "udp+"},
		{"another opcode first", zoneOne, forged(dnstest.Edit(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })),
			"udp+"},
		{"a mismatch over TCP", zoneOne, func(q *dnstest.Query) {
			if q.Net == "tcp" {
				dnstest.WrongID(q)
			}
			dnstest.Truncate(q)
		}, "udp+ tcp+"},
		{"the question comes back in another case", zoneOne, dnstest.Edit(func(m *dns.Msg) {
			m.Question[0].Name = strings.ToUpper(m.Question[0].Name)
		}), "udp+"},
		{"a server that ignores the 1232 bytes asked for", big, dnstest.Raw(func(b []byte) []byte { return b }),
			"udp+"},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, tc.zone)
			srv.On(asked, dns.TypeTXT, tc.hook)
			got, err := c.TXT(t.Context(), asked)
			if err != nil || len(got.Records) != 1 || got.Denial != Exists {
				t.Errorf("got %+v, %v", got, err)
			}
			if nets := netsOf(srv); nets != tc.nets {
				t.Errorf("questions %q, want %q", nets, tc.nets)
			}
		})
	}
}

// forged sends a denial through the hook, as a forger would, and then the true answer.
func forged(h dnstest.Hook) dnstest.Hook {
	return func(q *dnstest.Query) {
		reply := q.Reply.Copy()
		q.Reply.Rcode, q.Reply.Answer = dns.RcodeNameError, nil
		h(q)
		q.Reply = reply
		q.Send()
	}
}

func netsOf(srv *dnstest.Server) string {
	var nets []string
	for _, q := range srv.Questions() {
		if q.EDNS {
			q.Net += "+"
		}
		nets = append(nets, q.Net)
	}
	return strings.Join(nets, " ")
}

func TestNoAnswer(t *testing.T) {
	overTCP := func(h dnstest.Hook) dnstest.Hook {
		return func(q *dnstest.Query) {
			if q.Net == "tcp" {
				h(q)
				return
			}
			dnstest.Truncate(q)
		}
	}
	cut := dnstest.Raw(func(b []byte) []byte { return b[:len(b)-20] })
	fewer := dnstest.Raw(func(b []byte) []byte { b[7]++; return b }) // ANCOUNT
	for _, tc := range []struct {
		why     string
		hook    dnstest.Hook
		timeout time.Duration
		kind    Kind
		text    string // in the error
	}{
		{"silence", dnstest.Drop, shortTimeout, Timeout, "no answer within 150ms from 127.0.0.1:"},
		{"only another id", dnstest.WrongID, shortTimeout, Timeout, "no answer within"},
		{"only another name", dnstest.WrongName, shortTimeout, Timeout, "no answer within"},
		{"silence over TCP", overTCP(dnstest.Drop), mediumTimeout, Timeout,
			"by TCP, as the answer was too long for UDP"},
		{"SERVFAIL", dnstest.ServFail, longTimeout, ServerFailure, "SERVFAIL from 127.0.0.1:"},
		{"SERVFAIL in a bare header", dnstest.BareRcode(dns.RcodeServerFailure), longTimeout, ServerFailure,
			"SERVFAIL"},
		{"REFUSED", dnstest.Rcode(dns.RcodeRefused), longTimeout, ServerFailure, "REFUSED"},
		{"FORMERR without EDNS0 too", dnstest.Rcode(dns.RcodeFormatError), longTimeout, ServerFailure, "FORMERR"},
		{"an rcode without a name", dnstest.Rcode(14), longTimeout, ServerFailure, "rcode 14"},
		{"an error code with records is not an answer",
			dnstest.Edit(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), longTimeout, ServerFailure,
			"SERVFAIL"},
		{"reasons of RFC 8914", dnstest.Edit(func(m *dns.Msg) {
			m.Rcode, m.Answer = dns.RcodeServerFailure, nil
			m.IsEdns0().Option = []dns.EDNS0{
				&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus, ExtraText: "\nfree text"},
				&dns.EDNS0_EDE{InfoCode: 65000},
				&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNetworkError},
			}
		}), longTimeout, ServerFailure, " (DNSSEC Bogus, Network Error); 3 attempts"},
		{"cut inside a record", cut, longTimeout, Malformed, "unusable answer from 127.0.0.1:"},
		{"fewer records than announced", fewer, longTimeout, Malformed, "fewer records than announced"},
		{"a record without data", dnstest.Edit(func(m *dns.Msg) {
			m.Answer = []dns.RR{&dns.ANY{
				Hdr: dns.RR_Header{Name: asked + ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET}}}
		}), longTimeout, Malformed, "record without data"},
		{"records and NXDOMAIN", dnstest.Edit(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }), longTimeout,
			Malformed,
			"NXDOMAIN with records"},
		{"only records of another name, and no denial", dnstest.Records("other.example TXT forged"), longTimeout,
			Malformed, "records of other names"},
		{"a DNAME without the CNAME made of it", dnstest.Records("example.com DNAME example.net"), longTimeout,
			Malformed,
			"records of other names"},
		{"a referral", referral("example.com NS ns.example.com"), longTimeout, Lame, "not a recursive resolver"},
		{"truncated over TCP", dnstest.Edit(func(m *dns.Msg) { m.Truncated = true }), longTimeout, Malformed,
			"truncated over TCP"},
		{"TCP closed without an answer", overTCP(dnstest.Hangup), longTimeout, Network, "cannot talk to 127.0.0.1:"},
	} {
		t.Run(tc.why, func(t *testing.T) {
			t.Parallel()
			srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
			srv.On(asked, dns.TypeTXT, tc.hook)
			c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: tc.timeout})
			got, err := c.TXT(t.Context(), asked)
			e := checkKind(t, err, tc.kind)
			if got.Records != nil || got.Denial != Exists || got.TTL != 0 {
				t.Errorf("got %+v beside the error", got)
			}
			attempts := 3
			if tc.kind == Timeout {
				attempts = 4 // without EDNS0 at last
			}
			if e.Name != asked || e.Type != "TXT" || e.Server != srv.Addr() || e.Attempts != attempts ||
				e.Target != "" {
				t.Errorf("error says %+v", *e)
			}
			if text := e.Error(); !strings.HasPrefix(text, "TXT "+asked+": ") || !strings.Contains(text, tc.text) ||
				strings.Contains(text, "\n") {
				t.Errorf("error text %q: want %q in it", text, tc.text)
			}
		})
	}
}

func TestNetworkError(t *testing.T) {
	c := newClient(t, Config{Servers: []string{closedPort(t)}})
	_, err := c.TXT(t.Context(), asked+".")
	e := checkKind(t, err, Network)
	if want := "TXT " + asked + ": cannot talk to " + e.Server +
		": read: connection refused; 3 attempts"; e.Error() != want {
		t.Errorf("got text %q, want %q", e.Error(), want)
	}
	var inner net.Error
	if errors.As(err, &inner) && inner.Timeout() {
		t.Errorf("a closed port was taken for silence: %v", err)
	}
}

// closedPort returns an address at which no process listens.
func closedPort(t *testing.T) string {
	t.Helper()
	srv, err := dnstest.Start(dnstest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	return srv.Addr()
}

func TestErrorNamesTarget(t *testing.T) {
	c, srv := newTestClient(t, asked+" CNAME sts.example.net")
	srv.On(asked, dns.TypeTXT, halfWay)
	srv.On("sts.example.net", dns.TypeTXT, dnstest.ServFail)
	_, err := c.TXT(t.Context(), asked)
	e := checkKind(t, err, ServerFailure)
	if want := "TXT " + asked + ": at its CNAME target sts.example.net: SERVFAIL from " + srv.Addr() +
		"; 3 attempts"; e.Error() != want {
		t.Errorf("got text %q, want %q", e.Error(), want)
	}
}

func TestCancel(t *testing.T) {
	for _, tc := range []struct {
		why  string
		hook dnstest.Hook
		seen int // questions before the cancellation
	}{
		{"while waiting for UDP", dnstest.Drop, 1},
		{"while waiting for TCP", func(q *dnstest.Query) {
			if q.Net == "udp" {
				dnstest.Truncate(q)
			}
		}, 2},
		{"while forged packets arrive", dnstest.Each(dnstest.WrongID, dnstest.WrongName), 1},
	} {
		t.Run(tc.why, func(t *testing.T) {
			srv := dnstest.New(t, dnstest.Config{Strict: true})
			srv.On(asked, dns.TypeTXT, tc.hook)
			c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: time.Hour})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				_ = srv.Wait(t.Context(), asked, dns.TypeTXT, tc.seen)
				cancel()
			}()
			_, err := c.TXT(ctx, asked)
			checkKind(t, err, Cancelled)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled within", err)
			}
			if n := srv.Total(); n != tc.seen {
				t.Errorf("%d questions, want %d: none after the cancellation", n, tc.seen)
			}
		})
	}
}

func TestContextDeadline(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Strict: true})
	srv.On(asked, dns.TypeTXT, dnstest.Drop)
	c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), shortTimeout)
	defer cancel()
	_, err := c.TXT(ctx, asked)
	e := checkKind(t, err, Cancelled)
	if !errors.Is(err, context.DeadlineExceeded) || e.Attempts != 1 {
		t.Errorf("got %v, want context.DeadlineExceeded after 1 attempt", err)
	}

	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.TXT(over, asked)
	checkKind(t, err, Cancelled)
	if n := srv.Total(); n != 1 {
		t.Errorf("%d questions, want none for a context that was over before", n-1)
	}
}

func TestSocketsAreBounded(t *testing.T) {
	c, srv := newTestClient(t, zoneOne)
	for range cap(c.transport.inFlight) - 1 {
		c.transport.inFlight <- struct{}{}
	}
	release := make(chan struct{})
	srv.On(asked, dns.TypeTXT, dnstest.Hold(release, dnstest.Answer))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			got, err := c.TXT(t.Context(), asked)
			check(t, got, err, answerOne)
		})
	}
	if err := srv.Wait(t.Context(), asked, dns.TypeTXT, 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), shortTimeout)
	defer cancel()
	_, err := c.TXT(ctx, asked) // no socket becomes free
	checkKind(t, err, Cancelled)
	if n := srv.Total(); n != 1 {
		t.Errorf("%d questions with one socket left", n)
	}
	close(release)
	wg.Wait()
}
