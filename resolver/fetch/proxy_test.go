package fetch

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// setProxy sets the environment that a fetcher reads; "" unsets.
func setProxy(t *testing.T, https, no string) {
	t.Helper()
	for name, value := range map[string]string{
		"HTTPS_PROXY": https, "https_proxy": "", "NO_PROXY": no, "no_proxy": "", "HTTP_PROXY": "http://192.0.2.1:1",
		"http_proxy": ""} {
		t.Setenv(name, value)
	}
}

// tunnel is a proxy that connects each client to one peer. It sends the head of each request to heads.
func tunnel(t testing.TB, to net.Listener, heads chan<- string) func(net.Conn) {
	return func(c net.Conn) {
		head, err := readRequest(c)
		if err != nil {
			return
		}
		heads <- head
		onward, err := net.Dial("tcp", to.Addr().String())
		if err != nil {
			t.Errorf("proxy: %v", err)
			return
		}
		defer onward.Close()
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			io.Copy(c, onward)
			c.Close()
		}()
		io.Copy(onward, c)
	}
}

// proxyFetcher is a fetcher that may neither ask the DNS nor connect by itself.
func proxyFetcher(t *testing.T, cfg Config) *Client {
	f := New(&addressDNS{t: t, host: "no question is expected: the proxy finds the policy host"}, cfg)
	f.dialer.connect = func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
		t.Errorf("connected to %v past the proxy", to)
		return nil, fmt.Errorf("past the proxy")
	}
	return f
}

// TestFetchThroughProxy: HTTPS_PROXY is honoured, on a private address and with a password; TLS is with the policy
// host.
func TestFetchThroughProxy(t *testing.T) {
	noLeaks(t)
	s := servePolicy(t, respond(goodHead+"\r\n"+goodPolicy))
	heads := make(chan string, 1)
	proxy := listen(t, tunnel(t, s, heads))
	setProxy(t, "http://user:secret@"+proxy.Addr().String(), "")
	p, err := proxyFetcher(t, Config{Roots: s.ca.pool()}).Fetch(t.Context(), fetchDomain())
	wantFetch(t, "through a proxy", p, err, 0, "")
	head := <-heads
	if !strings.HasPrefix(head, "CONNECT mta-sts.example.test:443 HTTP/1.1\r\n") {
		t.Errorf("the proxy was asked:\n%s", head)
	}
	if !strings.Contains(head,
		"Proxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("user:secret"))+"\r\n") {
		t.Errorf("the proxy was not given the password:\n%s", head)
	}
}

// TestFetchPastProxy: NO_PROXY is honoured; then the DNS and the rules for addresses are ours again.
func TestFetchPastProxy(t *testing.T) {
	noLeaks(t)
	s := servePolicy(t, respond(goodHead+"\r\n"+goodPolicy))
	proxy := listen(t, func(net.Conn) { t.Error("the proxy was used") })
	for _, no := range []string{"*", "example.test", ".example.test", policyHost} {
		setProxy(t, "http://"+proxy.Addr().String(), no)
		f := New(&addressDNS{t: t, host: policyHost, v4: said{addrs: []string{publicIPv4}}},
			Config{Roots: s.ca.pool()})
		f.dialer.connect = newTestFetcher(t, s, Config{}).dialer.connect
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, "NO_PROXY="+no, p, err, 0, "")
	}
}

// TestFetchBadProxy: what goes wrong with a proxy is no fault of the policy host's certificate, and takes no longer
// than a fetch may.
func TestFetchBadProxy(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	strange := servePolicy(t, respond(goodHead+"\r\n"+goodPolicy)) // of another CA
	unasked := func(c net.Conn) { drained(c) }
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			if _, err := readRequest(c); err == nil {
				io.WriteString(c, text)
			}
		}
	}
	cert := sign(t, leaf(t, policyHost), newCA(t)).chain()
	for _, c := range []struct {
		why   string
		serve func(net.Conn)
		url   string // %s is the proxy's address
		kind  Kind
		text  string
	}{
		{"it refuses", answer("HTTP/1.1 403 \x1b[2J\r\n\r\n"), "http://%s", HostFault,
			"the proxy (HTTPS_PROXY) refuses to connect: HTTP status 403"},
		{"it wants a password", answer("HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n"), "http://%s", HostFault,
			"HTTP status 407"},
		{"it cannot reach the policy host", answer("HTTP/1.1 502 x\r\n\r\n"), "http://%s", Unreachable,
			"could not connect: HTTP status 502"},
		{"it redirects", answer("HTTP/1.1 302 x\r\nLocation: http://192.0.2.1/\r\n\r\n"), "http://%s", HostFault,
			"HTTP status 302"},
		{"it talks nonsense", answer("220 mail.example.test ESMTP\r\n"), "http://%s", HostFault,
			"through the proxy 127.0.0.1:"},
		{"it says nothing", unasked, "http://%s", HostFault, "connect through the proxy 127.0.0.1:"},
		{"it hangs up", func(c net.Conn) { _, _ = readRequest(c) }, "http://%s", HostFault,
			"connect through the proxy 127.0.0.1:"},
		{"it says nothing, as SOCKS", unasked, "socks5://%s", Unreachable, "not finished within 500ms"},
		{"its head never ends", func(c net.Conn) {
			for _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"); err == nil; {
				_, err = c.Write([]byte(strings.Repeat("X-Filler: 0123456789\r\n", 100)))
			}
		}, "http://%s", HostFault, "through the proxy 127.0.0.1:"},
		{"its own certificate is bad", overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, func(*tls.Conn) {}),
			"https://%s",
			HostFault, "proxyconnect"},
		{"the policy host's certificate is bad", tunnel(t, strange, make(chan string, 1)), "http://%s",
			Certificate, "unknown authority"},
		{"its address is no URL", unasked, "http://user:secret@%s:%%zz", HostFault,
			"the value of HTTPS_PROXY is no URL"},
	} {
		t.Run(c.why, func(t *testing.T) {
			p := listen(t, c.serve)
			setProxy(t, fmt.Sprintf(c.url, p.Addr()), "")
			policy, err := proxyFetcher(t, Config{Roots: ca.pool(), Timeout: 500 * ms}).Fetch(t.Context(),
				fetchDomain())
			wantFetch(t, c.why, policy, err, c.kind, c.text)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the password is in the error: %v", c.why, err)
			}
			p.Close()
			p.serving.Wait() // it has seen the connection end
		})
	}
}

// TestFetchConcurrently: one fetcher serves many.
func TestFetchConcurrently(t *testing.T) {
	noLeaks(t)
	var served atomic.Int32
	s := servePolicy(t, func(c *tls.Conn) {
		served.Add(1)
		respond(goodHead + "\r\n" + goodPolicy)(c)
	})
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
	const many = 64
	errs := make(chan error, many)
	for range many {
		go func() {
			_, err := f.Fetch(t.Context(), fetchDomain())
			errs <- err
		}()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if served.Load() != many {
		t.Errorf("%d requests for %d fetches", served.Load(), many)
	}
}
