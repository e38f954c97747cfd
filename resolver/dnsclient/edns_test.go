package dnsclient

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// noEDNSPasses is a gateway that drops questions with EDNS0.
func noEDNSPasses(q *dnstest.Query) {
	if !q.EDNS {
		q.Send()
	}
}

// TestGatewayDropsEDNS: after the attempts a question without EDNS0 is tried, and what works is remembered for a while.
func TestGatewayDropsEDNS(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
	c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: shortTimeout, Attempts: 2})
	k := onClock(c)
	for _, tc := range []struct {
		why   string
		hook  dnstest.Hook
		after time.Duration
		nets  string
	}{
		{"it is found out", noEDNSPasses, 0, "udp+ udp+ udp"},
		{"and remembered", noEDNSPasses, plainTime - 1, "udp"},
		{"for a while", noEDNSPasses, 1, "udp+ udp+ udp"},
		{"it is repaired: EDNS0 works again", dnstest.Answer, plainTime, "udp+"},
		{"a server that is known to have EDNS0 is silent", dnstest.Drop, plainTime - 1, "udp+ udp+"},
	} {
		srv.Reset()
		srv.On(asked, dns.TypeTXT, tc.hook)
		k.advance(tc.after)
		if got, err := c.TXT(t.Context(), asked); (err != nil) != (tc.nets == "udp+ udp+") {
			t.Errorf("%s: %+v, %v", tc.why, got, err)
		}
		if nets := netsOf(srv); nets != tc.nets {
			t.Errorf("%s: questions %q, want %q", tc.why, nets, tc.nets)
		}
	}
}

// TestDNSSECNeedsEDNS: what DNSSEC proves is asked with the DO bit or not at all.
func TestDNSSECNeedsEDNS(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true, AD: true})
	srv.On(asked, dns.TypeTXT, noEDNSPasses)
	c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: shortTimeout, Attempts: 1})
	if _, err := c.TXT(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	srv.Reset()
	_, err := c.WithDNSSEC().TXT(t.Context(), asked)
	checkKind(t, err, Timeout)
	if nets := netsOf(srv); nets != "udp+" {
		t.Errorf("questions %q, want one with EDNS0", nets)
	}
}

// TestGatewaysBehindDeadServer: each silent server is tried without EDNS0, since the first may be dead.
func TestGatewaysBehindDeadServer(t *testing.T) {
	dead := dnstest.New(t, dnstest.Config{Strict: true})
	dead.On(asked, dns.TypeTXT, dnstest.Drop)
	gateway := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
	gateway.On(asked, dns.TypeTXT, noEDNSPasses)
	c := newClient(t, Config{Servers: []string{dead.Addr(), gateway.Addr()}, Timeout: shortTimeout, Attempts: 2})
	got, err := c.TXT(t.Context(), asked)
	check(t, got, err, answerOne)
}

// TestMalformedOption: an EDNS0 option that cannot be parsed does not spoil the records.
func TestMalformedOption(t *testing.T) {
	for _, tc := range []struct {
		why    string
		option []byte // code, length and data
	}{
		{"an extended error of one byte", []byte{0, 15, 0, 1, 9}},
		{"a client subnet of a family that is none", []byte{0, 8, 0, 4, 0, 9, 99, 99}},
		{"longer than the record", []byte{0, 15, 0, 200, 1, 2}},
		{"cut within its head", []byte{0, 15, 0}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, zoneOne)
			srv.On(asked, dns.TypeTXT, dnstest.Raw(func(b []byte) []byte {
				// The OPT record is the last one, and empty.
				binary.BigEndian.PutUint16(b[len(b)-2:], uint16(len(tc.option)))
				return append(b, tc.option...)
			}))
			got, err := c.TXT(t.Context(), asked)
			check(t, got, err, answerOne)
		})
	}
	c, srv := newTestClient(t, zoneOne)
	srv.On(asked, dns.TypeTXT, dnstest.Raw(func(b []byte) []byte {
		b = slices.Clone(b)
		b[len(b)-1] = 9 // nine bytes that are not there
		return b
	}))
	_, err := c.TXT(t.Context(), asked)
	checkKind(t, err, Malformed)
}

// TestTransportTCP: dns.transport = "tcp", and use-vc of resolv.conf, ask by TCP only.
func TestTransportTCP(t *testing.T) {
	for _, tc := range []struct {
		why     string
		tcp     bool
		options string
		want    string
	}{
		{"the setting", true, "", "tcp+"},
		{"resolv.conf", false, "options edns0 use-vc\n", "tcp+"},
		{"neither", false, "options edns0\n", "udp+"},
	} {
		srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
		f := newFile(t)
		f.write("nameserver " + srv.Addr() + "\n" + tc.options)
		c := newClient(t, Config{ResolvConf: f.path, TCP: tc.tcp})
		got, err := c.TXT(t.Context(), asked)
		check(t, got, err, answerOne)
		if nets := netsOf(srv); nets != tc.want {
			t.Errorf("%s: questions %q, want %q", tc.why, nets, tc.want)
		}
	}
}

// TestRotate: "options rotate" begins with another server each time.
func TestRotate(t *testing.T) {
	f := newFile(t)
	f.write("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\noptions rotate")
	c := newClient(t, Config{ResolvConf: f.path})
	firsts := map[string]int{}
	for range 6 {
		order := c.nameservers.order()
		if len(order) != 3 {
			t.Fatalf("%d servers", len(order))
		}
		firsts[order[0].addr.Addr().String()]++
	}
	if len(firsts) != 3 || firsts["192.0.2.1"] != 2 {
		t.Errorf("asked first: %v, want each twice", firsts)
	}
}

// TestIgnoredLinesAreReportedOnce: Config.Problem is told what is ignored, with the reason, and not again at each look.
func TestIgnoredLinesAreReportedOnce(t *testing.T) {
	f := newFile(t)
	f.write("nameserver 192.0.2.1\noptions timeout:1")
	var problems []string
	c := newClient(t, Config{ResolvConf: f.path, Problem: func(err error) { problems = append(problems, err.Error()) }})
	k := onClock(c)
	f.write("# changed\nnameserver 192.0.2.1")
	for range 3 {
		k.advance(checkInterval)
		c.Servers()
	}
	f.write("nameserver x\nnameserver 192.0.2.1")
	k.advance(checkInterval)
	c.Servers()
	f.write("nameserver x\nnameserver 192.0.2.2")
	k.advance(checkInterval)
	c.Servers()
	want := []string{f.path + ": line 2 ignored: option timeout: the setting dns.timeout counts",
		f.path + `: line 1 ignored: dns server "x": must be an IP address, with a port if it is not 53 (192.0.2.53, ` +
			"192.0.2.53:5353, [2001:db8::1]:5353)"}
	if !slices.Equal(problems, want) {
		t.Errorf("reported %q, want %q", problems, want)
	}
}
