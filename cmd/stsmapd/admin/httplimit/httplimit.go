// Package httplimit limits the open connections of an http.Server, so that clients that hold connections and send
// nothing keep nobody out.
package httplimit

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Set sets the server's ConnContext and ConnState and wraps its Handler. Each listener that the server serves must then
// be one that wrap has returned. Such a listener has at most so many connections at a time. One more closes the oldest
// of those on which no request is being answered, or the oldest of all.
func Set(server *http.Server, most int) (wrap func(net.Listener) net.Listener) {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		// Not when the handler returns: the end of its response may be written after that.
		if c, ok := c.(*conn); ok && state == http.StateIdle {
			c.setBusy(false)
		}
	}
	server.Handler = tracked(server.Handler)
	return func(l net.Listener) net.Listener { return &listener{Listener: l, most: most} }
}

type listener struct {
	net.Listener
	most  int
	mu    sync.Mutex
	conns []*conn // open ones, in the order of their begin
}

type conn struct {
	net.Conn
	listener *listener
	busy     bool // a request is being answered; guarded by listener.mu
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, listener: l}
	if excess := l.add(c); excess != nil {
		excess.Close()
	}
	return c, nil
}

// add adds a connection. It returns the one to close, nil if there is room.
func (l *listener) add(c *conn) (excess *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.most {
		idle := slices.IndexFunc(l.conns, func(c *conn) bool { return !c.busy })
		excess = l.conns[max(0, idle)]
	}
	l.conns = append(l.conns, c)
	return excess
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.mu.Lock()
	if i := slices.Index(c.listener.conns, c); i >= 0 {
		c.listener.conns = slices.Delete(c.listener.conns, i, i+1)
	}
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// setBusy notes whether a request is being answered.
func (c *conn) setBusy(busy bool) {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.busy = busy
}

// connKey is the key of a connection in the contexts of its requests.
type connKey struct{}

// tracked marks the connection of a request as busy before next answers it.
func tracked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			c.setBusy(true)
		}
		next.ServeHTTP(w, r)
	})
}
