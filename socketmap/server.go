// Package socketmap is Postfix's socketmap protocol: a server that answers lookups, and a client that asks.
//
// A client connects by TCP or by a UNIX socket and sends a question: one netstring that holds a map's name, a space and
// a key. The server answers with one netstring: a status and, after a space, the value or a reason.
//
//	C: 15:sts example.com,
//	S: 27:OK secure match=example.com,
//
// The statuses are OK, NOTFOUND, TEMP, TIMEOUT and PERM. Questions on one connection are answered in order. Postfix
// keeps its connection and asks again on it minutes or hours later, and defers mail when the server closed it
// meanwhile. So this server never ends a connection because it is idle: there is a deadline only inside of a question
// that has begun to arrive, and for a reply that the peer does not take at once.
package socketmap

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Server's settings.
const (
	// DefaultMaxConns is far above the process limit of any Postfix.
	DefaultMaxConns = 20_000
	// DefaultReadTimeout and DefaultWriteTimeout are well below the 100 s for which Postfix waits.
	DefaultReadTimeout  = 10 * time.Second
	DefaultWriteTimeout = 10 * time.Second
)

// ErrServerClosed is returned by Serve when Shutdown was called: the end that was asked for, not a failure.
var ErrServerClosed = errors.New("socketmap: server closed")

// Request is one question. Both parts are the bytes that the peer sent: any bytes, of MaxRequest-1 in all at most.
// They are valid only until ServeSocketmap returns; copy what must live longer.
type Request struct {
	Map []byte // up to the first space; may be empty
	Key []byte // all after it; may be empty and may contain spaces
}

// Handler answers questions. ServeSocketmap is called from many goroutines, one for each connection. The context ends
// only when Shutdown has run out of time; by then the peer is gone and the reply is thrown away. A panic ends the
// connection and no more.
//
// To a peer that sends several questions at once, a reply may be held back until those after it, which are already
// read, are answered too.
type Handler interface {
	ServeSocketmap(ctx context.Context, req Request) Reply
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(ctx context.Context, req Request) Reply

// ServeSocketmap calls f.
func (f HandlerFunc) ServeSocketmap(ctx context.Context, req Request) Reply { return f(ctx, req) }

// Server answers questions on any number of listeners. Set the fields before the first Serve and leave them alone
// after that. A Server must not be copied, and cannot be used again after Shutdown.
type Server struct {
	// Handler answers the questions. Required.
	Handler Handler
	// Logger takes the few lines about trouble; nil is slog.Default().
	Logger *slog.Logger
	// MaxConns is the number of open connections, over all listeners, at which the server stops accepting until one
	// ends; the others wait in the kernel's queue. 0 is DefaultMaxConns. Each listener beyond the first can go over it
	// by one, so that one quiet listener cannot hold up a busy one.
	MaxConns int
	// ReadTimeout is how long the rest of a question may take once a part of it is there; 0 is DefaultReadTimeout.
	ReadTimeout time.Duration
	// WriteTimeout is how long the peer may take to accept a reply; 0 is DefaultWriteTimeout.
	WriteTimeout time.Duration

	setup   sync.Once
	ctx     context.Context // of the handlers
	cancel  context.CancelFunc
	closing atomic.Bool   // Shutdown has begun
	stop    chan struct{} // closed when Shutdown begins
	drained chan struct{} // closed when Shutdown has begun and the last connection has ended

	mu        sync.Mutex // for what follows; taken per connection, never per question
	room      sync.Cond  // a connection has ended, or Shutdown has begun
	listeners map[*onceListener]struct{}
	conns     map[*conn]struct{}

	acceptLog, limitLog, malformedLog sometimes
}

func (s *Server) init() {
	s.setup.Do(func() {
		s.ctx, s.cancel = context.WithCancel(context.Background())
		s.stop = make(chan struct{})
		s.drained = make(chan struct{})
		s.room.L = &s.mu
		s.listeners = make(map[*onceListener]struct{})
		s.conns = make(map[*conn]struct{})
	})
}

// Serve accepts connections from ln and answers their questions until Shutdown, and then returns ErrServerClosed. Any
// other error means that the listener itself is of no use any more; failures that pass, such as too many open files,
// are waited out. Serve closes ln. It may be called for several listeners at once.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	l := &onceListener{Listener: ln}
	defer l.Close()
	if s.Handler == nil {
		return errors.New("socketmap: the server has no Handler")
	}
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	return s.acceptAll(l)
}

// Shutdown ends the server gracefully: no more connections, idle ones are closed at once, as are those with only a part
// of a question, and the rest when the answer that is being worked on is written. It returns nil when all are closed.
// When ctx ends first, the rest is closed without an answer, their handlers' contexts are cancelled, and Shutdown
// returns the context's error without waiting for handlers.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.beginShutdown()
	select {
	case <-s.drained:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.rwc.Close() // before the contexts end: what a handler says when it is cancelled must reach nobody
	}
	s.mu.Unlock()
	s.cancel()
	return ctx.Err()
}

func (s *Server) beginShutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Swap(true) {
		return
	}
	close(s.stop)
	s.room.Broadcast()
	for l := range s.listeners {
		l.Close()
	}
	if len(s.conns) == 0 {
		close(s.drained)
	}
	for c := range s.conns {
		c.closeIfIdle()
	}
}

// Conns is the number of connections open now.
func (s *Server) Conns() int {
	s.init() // it may be asked before the first Serve
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// addListener remembers l for Shutdown; false: Shutdown has already begun.
func (s *Server) addListener(l *onceListener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l *onceListener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// addConn makes a connection of the server's own of rwc; nil: Shutdown has already begun.
func (s *Server) addConn(rwc net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return nil
	}
	c := &conn{srv: s, rwc: rwc, to: newOutlet(rwc, s.writeTimeout())}
	s.conns[c] = struct{}{}
	return c
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.room.Broadcast()
	if s.closing.Load() && len(s.conns) == 0 {
		close(s.drained)
	}
}

func (s *Server) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.Default()
	}
	return s.Logger
}

func (s *Server) maxConns() int { return orDefault(s.MaxConns, DefaultMaxConns) }

func (s *Server) readTimeout() time.Duration { return orDefault(s.ReadTimeout, DefaultReadTimeout) }

func (s *Server) writeTimeout() time.Duration { return orDefault(s.WriteTimeout, DefaultWriteTimeout) }

// orDefault is v, or def where v says nothing.
func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
