package fetch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
)

// errCutOff: what came may be less than what was sent. TLS ends with a close_notify; an end without one can be made by
// anyone on the way, so that a response which only the end of the connection delimits is not complete without it (RFC
// 9112 section 9.8). Go's TLS is more lenient.
var errCutOff = errors.New("the other side closed the connection without a TLS close_notify")

// conn is the connection below TLS, for one fetch.
type conn struct {
	net.Conn
	fetch context.Context
}

// hold closes c when the fetch's context ends, whatever is going on in it then. Without that, a policy host that makes
// TLS write (by key updates) and does not read would block http.Transport in closing the connection, and so the fetch,
// for ever.
func hold(fetch context.Context, c net.Conn) net.Conn {
	held := conn{c, fetch}
	context.AfterFunc(fetch, func() { held.Close() })
	return held
}

// Read implements net.Conn: an end that TLS has not announced is an error.
func (c conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		err = errCutOff
	}
	return n, err
}

// Close implements net.Conn. When the time is up it resets the connection: else the kernel would go on for minutes
// trying to send what is still unsent.
func (c conn) Close() error {
	if cause := context.Cause(c.fetch); cause != nil && cause != context.Canceled {
		if l, ok := c.Conn.(interface{ SetLinger(seconds int) error }); ok {
			_ = l.SetLinger(0)
		}
	}
	return c.Conn.Close()
}

// progress is how far a fetch has come, for the text of its error. It may be used from several goroutines.
type progress struct {
	mu        sync.Mutex
	stage     string
	with, via string // " with ", "192.0.2.1:443"
	connects  bool   // there was a connection
	proxy     bool   // a proxy is being waited for
}

func (p *progress) reach(stage string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = stage
}

func (p *progress) goVia(with, via string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.with, p.via = with, via
}

func (p *progress) connected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connects = true
}

// reachedBy is how the policy host was reached, "" where it was not.
func (p *progress) reachedBy() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.connects {
		return ""
	}
	return p.with + p.via
}

// enterProxy notes that all depends on a proxy from now on, and leaveProxy that it has done what it was asked for.
func (p *progress) enterProxy() { p.setProxy(true) }
func (p *progress) leaveProxy() { p.setProxy(false) }

func (p *progress) setProxy(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy = on
}

// atProxy reports whether a proxy was being waited for.
func (p *progress) atProxy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proxy
}

// where is what was being done, and with whom: "TLS handshake with", "192.0.2.1:443".
func (p *progress) where() (stage, via string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.TrimSpace(p.stage + p.with), p.via
}

// trace follows a request. It must not ask for 1xx responses: http.Transport bounds only those that nobody looks at.
func (p *progress) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { p.reach("TLS handshake") },
		GotConn:           func(httptrace.GotConnInfo) { p.reach("HTTP exchange") },
	})
}
