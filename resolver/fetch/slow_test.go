package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// countingConn counts what is read from the network.
type countingConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func countReads(f *Client) *atomic.Int64 {
	read := new(atomic.Int64)
	connect := f.dialer.connect
	f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		c, err := connect(ctx, to)
		if err != nil {
			return nil, err
		}
		return countingConn{c, read}, nil
	}
	return read
}

// slowPeer is a policy host that stops, or nearly so, at some point; it tells when it has got there, and ends when the
// fetcher closes the connection.
type slowPeer struct {
	why   string
	stage string // of the error's text
	serve func(c net.Conn, there func())
}

// drip writes text byte by byte for ever.
func drip(c net.Conn, text string, there func()) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
		if i == 3 {
			there()
		}
		<-tick.C
	}
}

// drained waits until the other side has closed.
func drained(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func slowPeers(cert tls.Certificate) []slowPeer {
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	after := func(f func(*tls.Conn, func())) func(net.Conn, func()) {
		return func(c net.Conn, there func()) { overTLS(cfg, func(c *tls.Conn) { f(c, there) })(c) }
	}
	return []slowPeer{
		{"no TLS handshake", "TLS handshake with 127.0.0.1:", func(c net.Conn, there func()) { there(); drained(c) }},
		{"half a TLS record", "TLS handshake with 127.0.0.1:", func(c net.Conn, there func()) {
			c.Write([]byte{22, 3, 3, 0, 100, 2, 0})
			there()
			drained(c)
		}},
		{"a TLS handshake byte by byte", "TLS handshake with 127.0.0.1:", func(c net.Conn, there func()) {
			drip(c, "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"+string(make([]byte, 0x3ff0)), there)
		}},
		{"no response", "HTTP exchange with 127.0.0.1:",
			after(func(c *tls.Conn, there func()) { there(); drained(c) })},
		{"a head byte by byte", "HTTP exchange with 127.0.0.1:", after(func(c *tls.Conn, there func()) {
			drip(c, "HTTP/1.1 200 OK\r\nX-Filler: "+string(make([]byte, 30000)), there)
		})},
		{"103s one by one", "HTTP exchange with 127.0.0.1:", after(func(c *tls.Conn, there func()) {
			drip(c, "HTTP/1.1 103 Early Hints\r\n\r\n", there)
		})},
		{"a body byte by byte", "HTTP exchange with 127.0.0.1:", after(func(c *tls.Conn, there func()) {
			io.WriteString(c, goodHead+"\r\n"+goodPolicy)
			drip(c, "\n", there)
		})},
		{"a body that stops", "HTTP exchange with 127.0.0.1:", after(func(c *tls.Conn, there func()) {
			io.WriteString(c, goodHead+"Content-Length: 72\r\n\r\n"+goodPolicy)
			there()
			drained(c)
		})},
		{"a body that stops after its chunks", "HTTP exchange with 127.0.0.1:", after(func(c *tls.Conn, there func()) {
			io.WriteString(c, goodHead+"Transfer-Encoding: chunked\r\n\r\n47\r\n"+goodPolicy+"\r\n")
			there()
			drained(c)
		})},
	}
}

// TestFetchTimeout: 30 s in all (here less), whatever the policy host is slow in.
func TestFetchTimeout(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	watch := testkit.StartWatch(t)
	for _, c := range slowPeers(cert) {
		t.Run(c.why, func(t *testing.T) {
			// Where the machine is too busy for the fetch to get so far, it gets more time.
			for timeout := 150 * ms; !outOfTime(t, c, ca, timeout, watch); timeout *= 2 {
			}
		})
	}
}

// outOfTime has a fetch from a slow peer time out, and reports whether it had got so far.
func outOfTime(t *testing.T, c slowPeer, ca *testCA, timeout time.Duration, watch *testkit.Watch) bool {
	t.Helper()
	var there atomic.Bool
	p := listen(t, func(conn net.Conn) { c.serve(conn, func() { there.Store(true) }) })
	f := newTestFetcher(t, p, Config{Roots: ca.pool(), Timeout: timeout})
	begin := time.Now()
	policy, err := f.Fetch(t.Context(), fetchDomain())
	took, got := time.Since(begin), there.Load()
	p.Close()
	p.serving.Wait() // it has seen the connection end
	if !got && timeout < testkit.Hang {
		return false
	}
	wantFetch(t, c.why, policy, err, Unreachable, fmt.Sprintf("not finished within %v", timeout))
	wantFetch(t, c.why, policy, err, Unreachable, c.stage)
	if limit := watch.Limit(timeout + time.Second); took < timeout || took > limit {
		t.Errorf("%s: took %v, may take %v to %v", c.why, took, timeout, limit)
	}
	return true
}

// TestFetchCancelled: the caller's context ends a fetch at once, wherever it is.
func TestFetchCancelled(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	reason := errors.New("the daemon is closing")
	watch := testkit.StartWatch(t)
	for _, c := range slowPeers(cert) {
		t.Run(c.why, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var at atomic.Pointer[time.Time]
			p := listen(t, func(conn net.Conn) {
				c.serve(conn, func() {
					now := time.Now()
					at.Store(&now)
					cancel(reason)
				})
			})
			policy, err := newTestFetcher(t, p, Config{Roots: ca.pool(), Timeout: testkit.Hang}).Fetch(ctx,
				fetchDomain())
			if at.Load() == nil {
				t.Fatalf("%s: the fetch has not got there: %v", c.why, err)
			}
			took := time.Since(*at.Load())
			wantFetch(t, c.why, policy, err, Unreachable, "context canceled: the daemon is closing")
			if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
				t.Errorf("%s: %v does not wrap the context's error and its cause", c.why, err)
			}
			if took > watch.Limit(time.Second) {
				t.Errorf("%s: took %v from the end of the context", c.why, took)
			}
			p.Close()
			p.serving.Wait()
		})
	}
}

// TestFetchTimeoutBeforeConnection: the DNS and the connection count, too.
func TestFetchTimeoutBeforeConnection(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	watch := testkit.StartWatch(t)
	for _, c := range []struct {
		why string
		dns said
	}{
		{"the DNS hangs", said{after: never}},
		{"the connection hangs", said{addrs: []string{publicIPv4}}},
	} {
		f := New(&addressDNS{t: t, host: policyHost, v4: c.dns, v6: said{after: never}},
			Config{Roots: ca.pool(), Timeout: 150 * ms})
		f.proxy = newTestFetcher(t, nil, Config{}).proxy
		f.dialer.connect = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begin := time.Now()
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, c.why, p, err, Unreachable, "connect: not finished within 150ms")
		if took := time.Since(begin); took < 150*ms || took > watch.Limit(2*time.Second) {
			t.Errorf("%s: took %v", c.why, took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 20*ms)
		p, err = f.Fetch(ctx, fetchDomain())
		wantFetch(t, c.why, p, err, Unreachable, "connect: context deadline exceeded")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v does not wrap the context's error", c.why, err)
		}
		cancel()
	}
}

// lingering remembers how it was closed.
type lingering struct {
	net.Conn
	reset, closed bool
}

func (l *lingering) SetLinger(seconds int) error {
	l.reset = seconds == 0 && !l.closed
	return nil
}

func (l *lingering) Close() error {
	l.closed = true
	return nil
}

// TestFetchConnReset: a connection whose time is up is reset, one that has done its work is closed in peace.
func TestFetchConnReset(t *testing.T) {
	for _, c := range []struct {
		why   string
		cause error // of the end of the fetch's context; nil: it has not ended
		reset bool
	}{
		{"closed by TLS when all is read", nil, false},
		{"closed as the fetch returns", context.Canceled, false},
		{"out of time", errors.New("not finished within 30s"), true},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		if c.cause != nil {
			cancel(c.cause)
		}
		l := new(lingering)
		if err := (conn{l, ctx}).Close(); err != nil || !l.closed || l.reset != c.reset {
			t.Errorf("%s: error %v, closed %v, reset %v", c.why, err, l.closed, l.reset)
		}
		cancel(nil)
	}
}
