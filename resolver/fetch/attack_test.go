package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// faultyConn lets so many bytes out; then it calls fail, once, and writes no more.
type faultyConn struct {
	net.Conn
	left int
	fail func()
}

func (c *faultyConn) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:c.left])
	c.left = 0
	c.fail()
	return n, io.ErrClosedPipe
}

// TestFetchHandshakeBroken: a policy host that stops, or resets the connection, after any number of bytes of the
// handshake: of TLS 1.3, where it writes once, and of TLS 1.2, where it writes twice.
func TestFetchHandshakeBroken(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	reset := func(c net.Conn) {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.Close()
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}
		for _, c := range []struct {
			how  string
			fail func(net.Conn)
			text string
		}{
			{"stops", drained, "not finished within 150ms"},
			{"resets", reset, "TLS handshake with 127.0.0.1:"},
		} {
			// The server's part of these handshakes takes 600 bytes and more: 5 is within a record's header, 40 in the
			// ServerHello, 90 and 130 about its end, then come the certificate and the signature.
			for _, bytes := range []int{0, 1, 5, 40, 90, 130, 400, 500, 560} {
				t.Run(fmt.Sprintf("%s %s after %d bytes", tls.VersionName(version), c.how, bytes), func(t *testing.T) {
					served := make(chan bool, 1)
					p := listen(t, func(raw net.Conn) {
						f := &faultyConn{raw, bytes, func() { c.fail(raw) }}
						done := tls.Server(f, cfg).Handshake() == nil
						select {
						case served <- done:
						default:
						}
						drained(raw)
					})
					f := newTestFetcher(t, p, Config{Roots: ca.pool(), Timeout: 150 * ms})
					if c.how == "resets" {
						f.cfg.Timeout = testkit.Hang
					}
					for broken := false; !broken; { // again where the time was over before the server began
						policy, err := f.Fetch(t.Context(), fetchDomain())
						wantFetch(t, t.Name(), policy, err, Unreachable, c.text)
						select {
						case done := <-served:
							if broken = true; done {
								t.Error("the handshake was not broken at all")
							}
						default:
						}
					}
				})
			}
		}
	}
}

// frame is an HTTP/2 frame.
func frame(kind, flags byte, stream uint32, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, byte(stream >> 24), byte(stream >> 16),
		byte(stream >> 8), byte(stream)}) + payload
}

// TestFetchSpeaksNoHTTP2: the policy host gets HTTP/1.1 (see TestFetchRequest), and what it says in HTTP/2 is junk:
// there are no streams, no header compression and no settings to abuse.
func TestFetchSpeaksNoHTTP2(t *testing.T) {
	noLeaks(t)
	settings := frame(4, 0, 0, "")
	for _, c := range []struct {
		why   string
		serve func(*tls.Conn) int
		text  string
	}{
		{"SETTINGS without end", forever("", settings), "HTTP exchange"},
		{"PING without end", forever(settings, frame(6, 0, 0, "12345678")), "HTTP exchange"},
		{"HEADERS, then CONTINUATION without end",
			forever(settings+frame(1, 0, 1, "\x88"), frame(9, 0, 1, strings.Repeat("\x00\x01a\x01b", 100))),
			"HTTP exchange"},
		{"RST_STREAM without end", forever(settings, frame(3, 0, 1, "\x00\x00\x00\x08")), "HTTP exchange"},
		{"a stream without end", forever(settings+frame(1, 4, 1, "\x88"), frame(0, 0, 1, strings.Repeat("x", 1000))),
			"HTTP exchange"},
		{"an upgrade to it", once("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" +
			settings), "HTTP status 101"},
	} {
		s := servePolicy(t, func(conn *tls.Conn) { c.serve(conn) })
		f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
		read := countReads(f)
		p, err := f.Fetch(t.Context(), fetchDomain())
		kind := Unreachable
		if strings.HasPrefix(c.text, "HTTP status") {
			kind = Refused
		}
		wantFetch(t, c.why, p, err, kind, c.text)
		if read.Load() > 2*maxPolicy {
			t.Errorf("%s: %d bytes read", c.why, read.Load())
		}
	}
}

// TestFetchBombs: what says that it is compressed is refused before it is read, and nothing is ever decompressed.
func TestFetchBombs(t *testing.T) {
	noLeaks(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 16<<20)); err != nil || z.Close() != nil || bomb.Len() > maxPolicy {
		t.Fatalf("a bomb of %d bytes", bomb.Len())
	}
	for _, c := range []struct {
		why, head string
		kind      Kind
		text      string
	}{
		{"gzip", "Content-Encoding: gzip\r\n", MediaType, "content encoding"},
		{"deflate", "Content-Encoding: deflate\r\n", MediaType, "content encoding"},
		{"twice", "Content-Encoding: identity\r\nContent-Encoding: gzip, gzip\r\n", MediaType, "content encoding"},
		{"a transfer coding", "Transfer-Encoding: gzip, chunked\r\n", Unreachable, "transfer encoding"},
		{"in silence", "", Invalid, "no colon"},
	} {
		s := servePolicy(t, func(conn *tls.Conn) {
			respond(goodHead + c.head + fmt.Sprintf("Content-Length: %d\r\n\r\n", bomb.Len()) + bomb.String())(conn)
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := fetchFrom(t, s)
		runtime.ReadMemStats(&after)
		wantFetch(t, c.why, p, err, c.kind, c.text)
		if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20 {
			t.Errorf("%s: %d bytes allocated", c.why, n)
		}
	}
}

// TestFetchHeldOpen: a policy that is complete is taken at once, though the policy host keeps the connection open.
func TestFetchHeldOpen(t *testing.T) {
	noLeaks(t)
	for why, text := range map[string]string{
		"by its length": goodHead + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(goodPolicy), goodPolicy),
		"by its chunks": goodHead +
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(goodPolicy), goodPolicy),
	} {
		s := servePolicy(t, func(c *tls.Conn) {
			_, _ = io.WriteString(c, text)
			drained(c) // until the fetcher closes: it must
		})
		p, err := fetchFrom(t, s)
		wantFetch(t, why, p, err, 0, "")
	}
}

// TestFetchRedirectsLeadNowhere: whatever a redirect names, a private address above all, nobody connects to it.
func TestFetchRedirectsLeadNowhere(t *testing.T) {
	noLeaks(t)
	for _, to := range []string{
		"http://169.254.169.254/latest/meta-data/", "https://127.0.0.1/", "https://[::1]/", "https://localhost/",
		"http://10.0.0.1/", "//192.168.0.1/",
		"file:///etc/passwd", "/.well-known/mta-sts.txt", "https://" + policyHost + "/.well-known/mta-sts.txt",
	} {
		var gets atomic.Int32
		s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			gets.Add(1)
			w.Header().Set("Location", to)
			w.Header().Set("Refresh", "0; url="+to)
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusFound)
			_, _ = io.WriteString(w, goodPolicy)
		})
		p, err := fetchFrom(t, s) // fails the test on any connection but the first
		wantFetch(t, to, p, err, Refused, "forbids to follow redirects")
		if gets.Load() != 1 {
			t.Errorf("%s: %d requests", to, gets.Load())
		}
	}
}

// TestFetchRebindingBetweenFetches: a policy host that was public when its policy was fetched, and has a private
// address when it is fetched again, is refused then.
func TestFetchRebindingBetweenFetches(t *testing.T) {
	noLeaks(t)
	s := servePolicy(t, respond(goodHead+"\r\n"+goodPolicy))
	// fails the test on a connection to any address but publicIPv4
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
	say := func(v4, v6 []string) {
		f.dialer.dns = &addressDNS{t: t, host: policyHost, v4: said{addrs: v4}, v6: said{addrs: v6}}
	}
	p, err := f.Fetch(t.Context(), fetchDomain())
	wantFetch(t, "public", p, err, 0, "")
	for _, a := range []string{
		"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.0.2.1",
		"198.18.0.1",
		"224.0.0.1", "240.0.0.1", "255.255.255.255",
	} {
		say([]string{a}, nil)
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, a, p, err, Unreachable, "its address "+a+" is not public")
	}
	for _, a := range []string{
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::",
		"2002:a00:1::", "fe80::1", "fc00::1",
		"ff02::1", "2001:db8::1", "2001::1", "100::1", "64:ff9b:1::1",
	} {
		say(nil, []string{a})
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, a, p, err, Unreachable, "is not public")
	}
	say([]string{"127.0.0.1", publicIPv4, "10.0.0.1"}, []string{"::1", "fe80::1"})
	p, err = f.Fetch(t.Context(), fetchDomain())
	wantFetch(t, "one public address among private ones: it alone is connected to", p, err, 0, "")
}

// TestFetchCrowd: as many attackers at once as there are fetches at most take a bounded amount of memory.
func TestFetchCrowd(t *testing.T) {
	noLeaks(t)
	const fetches = 64 // fetch.concurrency
	s := servePolicy(t, func(c *tls.Conn) {
		forever(goodHead+"Transfer-Encoding: chunked\r\n\r\n", "400\r\n"+strings.Repeat("x", 0x400)+"\r\n")(c)
	})
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
	connect := f.dialer.connect
	var peak atomic.Uint64
	f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for old := peak.Load(); m.HeapInuse > old && !peak.CompareAndSwap(old, m.HeapInuse); old = peak.Load() {
		}
		return connect(ctx, to)
	}
	var running sync.WaitGroup
	for range fetches {
		running.Go(func() {
			p, err := f.Fetch(t.Context(), fetchDomain())
			wantFetch(t, "a crowd", p, err, TooLarge, "")
		})
	}
	running.Wait()
	// The policy hosts' part is in it, too.
	if n := peak.Load(); n > fetches*2<<20 {
		t.Errorf("%d bytes of heap in use", n)
	}
}
