package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// fetchAt fetches from a policy host whose addresses, IPv6 and IPv4, lead to these peers; nil refuses connections.
func fetchAt(t *testing.T, ca *testCA, timeout time.Duration, v6, v4 []*peer) (tried []string, err error) {
	t.Helper()
	peers := map[string]*peer{}
	dns := &addressDNS{t: t, host: policyHost}
	for i, p := range v6 {
		addr := "2a00::" + string(rune('1'+i))
		peers[addr], dns.v6.addrs = p, append(dns.v6.addrs, addr)
	}
	for i, p := range v4 {
		addr := "5.0.0." + string(rune('1'+i))
		peers[addr], dns.v4.addrs = p, append(dns.v4.addrs, addr)
	}
	f := newTestFetcher(t, nil, Config{Roots: ca.pool(), Timeout: timeout})
	f.dialer.dns = dns
	var mu sync.Mutex
	f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		mu.Lock()
		tried = append(tried, to.Addr().String())
		mu.Unlock()
		p := peers[to.Addr().String()]
		if p == nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.Addr().String())
		if err != nil {
			return nil, err
		}
		return elsewhere{c, net.TCPAddrFromAddrPort(to)}, nil
	}
	_, err = f.Fetch(t.Context(), fetchDomain())
	mu.Lock()
	defer mu.Unlock()
	return tried, err
}

// TestBadIPv6GoodIPv4: whatever an IPv6 address does after its connection, the policy comes from the IPv4 address, and
// before the time is up.
func TestBadIPv6GoodIPv4(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	tlsPeer := func(f func(*tls.Conn), names ...string) *peer {
		cert := sign(t, leaf(t, names...), ca).chain()
		return listen(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, f))
	}
	good := tlsPeer(respond(goodHead+"\r\n"+goodPolicy), policyHost)
	silent := listen(t, func(c net.Conn) { drained(c) })
	for _, c := range []struct {
		why string
		bad *peer
	}{
		{"it refuses", nil},
		{"it hangs in TLS", silent},
		{"it closes at once", listen(t, func(net.Conn) {})},
		{"it speaks no TLS", listen(t, func(c net.Conn) { io.WriteString(c, "220 mail.example.test ESMTP\r\n") })},
		{"it is another server, with another certificate", tlsPeer(nil, "www.example.test")},
		{"it hangs in HTTP", tlsPeer(func(c *tls.Conn) { drained(c) }, policyHost)},
		{"it hangs in the body", tlsPeer(func(c *tls.Conn) {
			io.WriteString(c, goodHead+"Content-Length: 72\r\n\r\nversion")
			drained(c)
		}, policyHost)},
		{"it has no policy", tlsPeer(respond("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), policyHost)},
		{"it redirects", tlsPeer(respond("HTTP/1.1 301 x\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), policyHost)},
		{"it has a web page", tlsPeer(respond("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"), policyHost)},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			if tried, err := fetchAt(t, ca, testkit.Hang, []*peer{c.bad}, []*peer{good}); err != nil ||
				strings.Join(tried, " ") != "2a00::1 5.0.0.1" {
				t.Errorf("%v, after trying %v", err, tried)
			}
			if _, err := fetchAt(t, ca, testkit.Hang, nil, []*peer{c.bad, good}); err != nil {
				t.Errorf("the second of two IPv4 addresses: %v", err)
			}
		})
	}
}

// TestLittleTime: the next address is tried while there is time for it, also where the whole fetch has little.
func TestLittleTime(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	good := listen(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, respond(goodHead+"\r\n"+goodPolicy)))
	silent := listen(t, func(c net.Conn) { drained(c) })
	for timeout := 4 * time.Second; ; timeout *= 2 { // a busy machine gets more
		tried, err := fetchAt(t, ca, timeout, []*peer{silent}, []*peer{good})
		if len(tried) != 2 {
			t.Fatalf("within %v only %v was tried", timeout, tried)
		}
		if err == nil {
			return
		}
		if timeout > testkit.Hang {
			t.Fatal(err)
		}
	}
}

// TestErrorTellsEachAddress: an administrator reads what each address did; addresses that did the same are told
// together. The kind is that of the address that got furthest.
func TestErrorTellsEachAddress(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	other := listen(t, overTLS(&tls.Config{
		Certificates: []tls.Certificate{sign(t, leaf(t, "www.example.test"), ca).chain()}}, nil))
	missing := listen(t, overTLS(&tls.Config{
		Certificates: []tls.Certificate{sign(t, leaf(t, policyHost), ca).chain()}},
		respond("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")))
	silent := listen(t, func(c net.Conn) { drained(c) })
	const prefix = "fetch https://mta-sts.example.test/.well-known/mta-sts.txt: "
	for _, c := range []struct {
		why    string
		v6, v4 []*peer
		kind   Kind
		text   string
		reason string
	}{
		{"another server by IPv6, nothing by IPv4", []*peer{other}, []*peer{nil}, Certificate,
			"TLS handshake with [2a00::1]:443: tls: failed to verify certificate: x509: certificate is valid for " +
				"www.example.test, not mta-sts.example.test; connect to 5.0.0.1:443: connection refused",
			"the policy host's certificate is for another name"},
		{"silence by IPv6, nothing by IPv4", []*peer{silent}, []*peer{nil}, Unreachable,
			"connect to 5.0.0.1:443: connection refused; TLS handshake with [2a00::1]:443: not finished within 6s",
			"the TLS handshake with the policy host failed, or took too long"},
		{"the same of two", nil, []*peer{nil, nil}, Unreachable,
			"connect to 5.0.0.1:443, 5.0.0.2:443: connection refused",
			"the policy host could not be reached, or did not answer in time"},
		{"no policy at any of seven", []*peer{missing, missing, missing}, []*peer{missing, missing, missing, missing},
			Refused, "HTTP exchange with [2a00::1]:443, 5.0.0.1:443, [2a00::2]:443, 5.0.0.2:443: " +
				"HTTP status 404, not 200",
			"HTTP status 404, not 200"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			_, err := fetchAt(t, ca, 6*time.Second, c.v6, c.v4)
			var failed *Error
			if !errors.As(err, &failed) || failed.Kind != c.kind || err.Error() != prefix+c.text ||
				failed.Reason() != c.reason {
				t.Errorf("%v (%v), want\n%s", err, failed, c.text)
			}
		})
	}
}

// TestOnlyIPv6Here: on a host without IPv6, a policy host that has only IPv6 addresses is no fault of its domain, and
// the error does not say that it has no address.
func TestOnlyIPv6Here(t *testing.T) {
	f := newTestFetcher(t, nil, Config{Roots: newCA(t).pool()})
	f.dialer.hasIPv6 = func() bool { return false }
	f.dialer.dns = &addressDNS{t: t, host: policyHost, v6: said{addrs: []string{"2a00::1"}}}
	_, err := f.Fetch(t.Context(), fetchDomain())
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != HostFault || fault.Of(err) != fault.Host || failed.Reason() != "" ||
		!strings.Contains(fault.Judge(err).Cure, "this host has no IPv6") ||
		!strings.Contains(err.Error(), "no IPv4 address in the DNS, and this host has no IPv6 address") {
		t.Errorf("%v (%v)", err, failed)
	}
}
