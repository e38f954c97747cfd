package socketmap

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Pauses after a failed accept, doubled from the first to the last.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// acceptAll is Serve's loop.
func (s *Server) acceptAll(l *onceListener) error {
	for {
		if !s.waitForRoom() {
			return ErrServerClosed
		}
		rwc, err := s.accept(l)
		if err != nil {
			return err
		}
		c := s.addConn(rwc)
		if c == nil {
			rwc.Close()
			return ErrServerClosed
		}
		go c.serve(s.ctx)
	}
}

// accept waits for one connection and for the end of failures that pass.
func (s *Server) accept(l *onceListener) (net.Conn, error) {
	logged, pause := false, firstPause
	for {
		rwc, err := l.Accept()
		if err == nil {
			if logged {
				s.logger().Info("connections are accepted again", "event", "socketmap_accept_recovered", "listener",
					l.name())
			}
			return rwc, nil
		}
		if s.closing.Load() {
			return nil, ErrServerClosed
		}
		if isListenerLost(err) {
			return nil, fmt.Errorf("socketmap: accept on %s: %w", l.name(), err)
		}
		if !logged {
			logged = s.logAcceptFailing(l, err)
		}
		if !s.pause(pause) {
			return nil, ErrServerClosed
		}
		pause = min(2*pause, lastPause)
	}
}

// logAcceptFailing tells of a failure, and whether it told: a listener that fails and recovers many times a second is
// good for one line in each interval of s.acceptLog.
func (s *Server) logAcceptFailing(l *onceListener, err error) bool {
	_, ok := s.acceptLog.allow(time.Now())
	if ok {
		s.logger().Error("no connections can be accepted, trying on; those who wish to connect wait. "+
			"If files or memory are short, raise LimitNOFILE= or the memory limit of the service",
			"event", "socketmap_accept_failing", "listener", l.name(), "err", err)
	}
	return ok
}

// isListenerLost tells the errors that no waiting can heal.
func isListenerLost(err error) bool {
	for _, lost := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// pause waits for d; false: Shutdown has begun.
func (s *Server) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// waitForRoom waits until fewer than MaxConns connections are open; false: Shutdown has begun.
func (s *Server) waitForRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closing.Load() {
		if len(s.conns) < s.maxConns() {
			return true
		}
		if _, ok := s.limitLog.allow(time.Now()); ok {
			s.logger().Warn("the most connections allowed are open, the next wait until one ends. "+
				"Check who holds them: Postfix needs one for each smtp(8) process",
				"event", "socketmap_conn_limit", "limit", s.maxConns())
		}
		s.room.Wait()
	}
	return false
}

// onceListener can be closed from several places; the listener below sees the first only.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error
}

// Close closes the listener once and says each time how that went.
func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// name is the listener's address for log lines.
func (l *onceListener) name() string {
	addr := l.Addr()
	return addr.Network() + ":" + addr.String()
}

// logInterval is the least time between two log lines of one kind that a peer can provoke.
const logInterval = time.Minute

// sometimes lets one log line through in each logInterval and counts the others.
type sometimes struct {
	mu     sync.Mutex
	next   time.Time
	missed int
}

// allow says whether the line may be written now, and how many were not since the last.
func (s *sometimes) allow(now time.Time) (missed int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		s.missed++
		return 0, false
	}
	missed, s.missed = s.missed, 0
	s.next = now.Add(logInterval)
	return missed, true
}
