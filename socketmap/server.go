// Package socketmap implements Postfix's socketmap protocol: a server that answers lookups, and a client.
//
// A client connects by TCP or by a UNIX socket and sends a request: one netstring that holds the name of a map, a space
// and a key. The server sends one netstring back: a status and, after a space, the value or a reason.
//
//	C: 15:sts example.com,
//	S: 27:OK secure match=example.com,
//
// The statuses are OK, NOTFOUND, TEMP, TIMEOUT and PERM. Requests on one connection are answered in order. Postfix
// keeps its connection, uses it again minutes or hours later, and defers mail if the server has closed it meanwhile.
// So this server never closes an idle connection. A deadline applies only to the rest of a request that has arrived in
// part, and to a reply that the peer does not accept at once.
package socketmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
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

// Pauses after failed accepts: the first, and the longest after doubling.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// ErrServerClosed is returned by Serve after Shutdown was called. It is not a failure.
var ErrServerClosed = errors.New("socketmap: server closed")

// Request is one lookup. Map and Key are the bytes that the peer sent, unchecked, together at most 9,999 of them. They
// are valid only until ServeSocketmap returns; copy what is kept longer.
type Request struct {
	Map []byte // up to the first space; may be empty
	Key []byte // all after it; may be empty and may contain spaces

	// NoKey says that the request has no space: it is not one of Postfix. Map is all of it.
	NoKey bool
}

// NoKeyReply is the reply to a request without a space, for a handler that knows no such requests.
func NoKeyReply() Reply { return Perm("the request has no space: want a map name, a space and a key") }

// Handler answers requests. ServeSocketmap is called from many goroutines, one for each connection. Its context is
// cancelled only when the context of Shutdown has ended; the connection is closed by then and the reply is discarded.
// A panic is logged and closes the one connection.
//
// Replies to requests that were read together may be sent together, after the last of them is answered.
type Handler interface {
	ServeSocketmap(ctx context.Context, req Request) Reply
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, req Request) Reply

// ServeSocketmap calls f.
func (f HandlerFunc) ServeSocketmap(ctx context.Context, req Request) Reply { return f(ctx, req) }

// Server answers requests on any number of listeners. Set the exported fields before the first call of Serve and do
// not change them afterwards. A Server must not be copied, and cannot be used again after Shutdown.
type Server struct {
	// Handler answers the requests. Required.
	Handler Handler
	// Logger receives the log lines about failures; nil means slog.Default().
	Logger *slog.Logger
	// MaxConns is the number of open connections, over all listeners, at which the server stops accepting until one
	// is closed; new ones wait in the kernel's queue. 0 means DefaultMaxConns. Each listener after the first may
	// exceed it by one, so that a quiet listener does not hold up a busy one. Connections of a PrivateListener do not
	// count.
	MaxConns int
	// ReadTimeout is how long the rest of a request may take after a part of it has arrived. 0 means
	// DefaultReadTimeout.
	ReadTimeout time.Duration
	// WriteTimeout is how long the peer may take to accept a reply. 0 means DefaultWriteTimeout.
	WriteTimeout time.Duration

	setup   sync.Once
	ctx     context.Context // of the handlers
	cancel  context.CancelFunc
	tracker *tracker

	acceptLog, limitLog, malformedLog logLimiter
}

func (s *Server) init() {
	s.setup.Do(func() {
		s.ctx, s.cancel = context.WithCancel(context.Background())
		s.tracker = newTracker()
	})
}

// Serve accepts connections from ln and answers their requests until Shutdown is called, and then returns
// ErrServerClosed. Any other error means that the listener no longer works; after temporary failures, such as too many
// open files, Serve accepts again. Serve closes ln. It may be called for several listeners at the same time.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	l := &onceListener{Listener: ln}
	defer l.Close()
	if s.Handler == nil {
		return errors.New("socketmap: the server has no Handler")
	}
	if !s.tracker.addListener(l) {
		return ErrServerClosed
	}
	defer s.tracker.removeListener(l)
	return s.acceptAll(l)
}

// acceptAll is Serve's loop.
func (s *Server) acceptAll(l *onceListener) error {
	_, private := l.Listener.(*PrivateListener)
	for {
		if !private && !s.waitForRoom() {
			return ErrServerClosed
		}
		rwc, err := s.accept(l)
		if err != nil {
			return err
		}
		c := s.addConn(rwc, private)
		if c == nil {
			rwc.Close()
			return ErrServerClosed
		}
		go c.serve(s.ctx)
	}
}

// accept returns the next connection. It retries after temporary failures.
func (s *Server) accept(l *onceListener) (net.Conn, error) {
	logged, pause := false, minAcceptPause
	for {
		rwc, err := l.Accept()
		if err == nil {
			if logged {
				s.logger().Info("connections are accepted again", "event", "socketmap_accept_recovered", "listener",
					l.name())
			}
			return rwc, nil
		}
		if s.tracker.closing.Load() {
			return nil, ErrServerClosed
		}
		if isListenerLost(err) {
			return nil, fmt.Errorf("socketmap: accept on %s: %w", l.name(), err)
		}
		if !logged {
			logged = s.logAcceptFailing(l, err)
		}
		if !s.tracker.sleep(pause) {
			return nil, ErrServerClosed
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// logAcceptFailing logs a failed accept, at most once in each interval of s.acceptLog, and reports whether it has.
func (s *Server) logAcceptFailing(l *onceListener, err error) bool {
	_, ok := s.acceptLog.allow(time.Now())
	if ok {
		s.logger().Error("cannot accept connections; new connections wait and mail is delayed until this works again; "+
			"if the error is about open files or memory, raise LimitNOFILE= or the memory limit of the service",
			"event", "socketmap_accept_failing", "listener", l.name(), "err", err)
	}
	return ok
}

// isListenerLost reports whether an error of accept means that the listener will never work again.
func isListenerLost(err error) bool {
	for _, lost := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// waitForRoom waits until fewer than MaxConns connections are open. It returns false when Shutdown was called.
func (s *Server) waitForRoom() bool {
	return s.tracker.waitForRoom(s.maxConns(), func() {
		if _, ok := s.limitLog.allow(time.Now()); ok {
			s.logger().Warn("the limit of open connections is reached; new connections wait, and mail with them; "+
				"check which processes hold the connections: Postfix needs one for each smtp(8) process",
				"event", "socketmap_conn_limit", "limit", s.maxConns())
		}
	})
}

// Shutdown ends the server gracefully. It stops accepting, closes at once the connections that are idle or have sent
// only a part of a request, and closes each other one after the reply in progress is written. It returns nil when all
// are closed. If ctx ends first, it closes the remaining connections without a reply, cancels the contexts of their
// handlers, and returns ctx.Err() without waiting for the handlers.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.tracker.beginShutdown()
	select {
	case <-s.tracker.drained:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.tracker.endConns() // before cancel: the reply of a cancelled handler must not be sent
	s.cancel()
	return ctx.Err()
}

// Conns returns the number of open connections, those of a PrivateListener left out.
func (s *Server) Conns() int {
	s.init() // Conns may be called before the first Serve
	return s.tracker.openConns()
}

// addConn makes a connection of the server from rwc. It returns nil when Shutdown was already called.
func (s *Server) addConn(rwc net.Conn, private bool) *conn {
	c := &conn{srv: s, rwc: newStream(rwc, s.writeTimeout()), private: private}
	if !s.tracker.addConn(c) {
		return nil
	}
	return c
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

// orDefault returns v, or def when v is not positive.
func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
