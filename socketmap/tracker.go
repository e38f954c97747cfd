package socketmap

import (
	"sync"
	"sync/atomic"
	"time"
)

// tracker has the open listeners and connections of a Server, and closes them when the server shuts down.
type tracker struct {
	closing atomic.Bool   // Shutdown has begun
	stop    chan struct{} // closed when Shutdown begins
	drained chan struct{} // closed when Shutdown has begun and the last connection has ended

	mu        sync.Mutex // of the fields below; locked for each connection, never for each request
	room      sync.Cond  // a connection has ended, or Shutdown has begun
	listeners map[*onceListener]struct{}
	conns     map[*conn]struct{}
	counted   int // of conns: all but private ones
}

func newTracker() *tracker {
	t := &tracker{
		stop: make(chan struct{}), drained: make(chan struct{}),
		listeners: make(map[*onceListener]struct{}), conns: make(map[*conn]struct{}),
	}
	t.room.L = &t.mu
	return t
}

// sleep waits for d. It returns false, at once, when Shutdown was called.
func (t *tracker) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.stop:
		return false
	}
}

// waitForRoom waits until fewer than limit counted connections are open, and calls full each time before it waits. It
// returns false when Shutdown was called.
func (t *tracker) waitForRoom(limit int, full func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.closing.Load() {
		if t.counted < limit {
			return true
		}
		full()
		t.room.Wait()
	}
	return false
}

// addListener registers l, which beginShutdown will close. It returns false when Shutdown was already called.
func (t *tracker) addListener(l *onceListener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing.Load() {
		return false
	}
	t.listeners[l] = struct{}{}
	return true
}

func (t *tracker) removeListener(l *onceListener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, l)
}

// addConn registers c. It returns false when Shutdown was already called.
func (t *tracker) addConn(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing.Load() {
		return false
	}
	t.conns[c] = struct{}{}
	if !c.private {
		t.counted++
	}
	return true
}

func (t *tracker) removeConn(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	if !c.private {
		t.counted--
	}
	t.room.Broadcast()
	if t.closing.Load() && len(t.conns) == 0 {
		close(t.drained)
	}
}

func (t *tracker) openConns() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counted
}

// beginShutdown closes the listeners and the idle connections, once.
func (t *tracker) beginShutdown() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing.Swap(true) {
		return
	}
	close(t.stop)
	t.room.Broadcast()
	for l := range t.listeners {
		l.Close()
	}
	if len(t.conns) == 0 {
		close(t.drained)
	}
	for c := range t.conns {
		c.closeIfIdle()
	}
}

// endConns lets no connection that is still open send a reply any more.
func (t *tracker) endConns() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.rwc.CloseWrite() // unless it has ended meanwhile
	}
}
