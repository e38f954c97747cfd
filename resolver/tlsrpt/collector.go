package tlsrpt

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// datagrams that wait for the collector, at most 16 MiB; an outage of ours fails that many fetches at once
	queueLength = 256
	patience    = time.Second // how long the collector may take to make room for the next datagram, and Close may last
)

// errSlow is what is logged when reports come faster than the collector takes them. Nobody else sees it.
var errSlow = errors.New("it takes datagrams more slowly than they come")

// Collector sends reports to the collector's socket, from one goroutine, so that nobody else ever waits for it. It is
// safe for concurrent use. Make it with New; Close it.
type Collector struct {
	path     string
	log      *slog.Logger
	patience time.Duration
	queue    chan []byte
	done     chan struct{} // closed when the goroutine has ended

	sent, dropped atomic.Uint64
	overflowed    atomic.Bool // the queue was full since the goroutine last looked

	mu     sync.Mutex // nothing below waits while it is held
	closed bool
	until  time.Time // once closed: when to give up what is still in the queue
}

// New returns a Collector for the UNIX datagram socket at path. The socket need not exist, now or ever.
func New(path string, log *slog.Logger) *Collector {
	return start(path, log, patience)
}

func start(path string, log *slog.Logger, patience time.Duration) *Collector {
	c := &Collector{
		path: path, log: log, patience: patience,
		queue: make(chan []byte, queueLength),
		done:  make(chan struct{}),
	}
	go c.run()
	return c
}

// Send hands the report over and returns at once. It is dropped, and counted, when the collector is away, or takes so
// long that 256 others wait already, or after Close, or when r has no Datagram.
func (c *Collector) Send(r Report) {
	if b := r.Datagram(); b == nil || !c.enqueue(b) {
		c.dropped.Add(1)
	}
}

func (c *Collector) enqueue(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	select {
	case c.queue <- b:
		return true
	default:
		c.overflowed.Store(true)
		return false
	}
}

// Stats returns how many reports the collector's socket took and how many were dropped, since New. Every report that
// Send was given is in one of the two, once it has left the queue.
func (c *Collector) Stats() (sent, dropped uint64) {
	return c.sent.Load(), c.dropped.Load()
}

// Close sends what is in the queue, as far as the collector takes it within a second, drops the rest and ends the
// goroutine. It always returns nil, and may be called again.
func (c *Collector) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.until = time.Now().Add(c.patience)
		close(c.queue)
	}
	c.mu.Unlock()
	<-c.done
	return nil
}

// run is the goroutine: it takes datagrams from the queue until Close, and notes when the collector goes away and comes
// back. It is back when it has taken all that waited, so that one that is merely slow makes two log lines, not two for
// each datagram.
func (c *Collector) run() {
	defer close(c.done)
	var away bool
	var before uint64 // dropped when it was last well
	for b := range c.queue {
		trouble := c.write(b)
		if trouble == nil {
			c.sent.Add(1)
			if c.overflowed.Swap(false) {
				trouble = errSlow
			}
		} else {
			c.dropped.Add(1)
		}
		switch {
		case trouble != nil && !away:
			away = true
			c.log.Warn("the TLSRPT collector takes no reports: failed policy fetches are not reported until it does, "+
				"only counted; "+
				"check that it runs, and that stsmapd may write to its socket (tlsrpt_socket)",
				"event", "tlsrpt_collector_away", "socket", c.path, "error", trouble)
		case trouble == nil && away && len(c.queue) == 0:
			away = false
			dropped := c.dropped.Load()
			c.log.Info("the TLSRPT collector takes reports again",
				"event", "tlsrpt_collector_back", "socket", c.path, "dropped", dropped-before)
			before = dropped
		}
	}
}

// write sends one datagram to whoever listens at the path now. A connection is made for each, as libtlsrpt does: it
// costs next to nothing, finds a collector that was started anew, and can wait for room where an unconnected socket
// could not.
func (c *Collector) write(b []byte) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: c.path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(c.deadline(time.Now())); err != nil {
		return err
	}
	_, err = conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("its socket is full and it does not read: %w", err)
	}
	return err
}

// deadline says until when a write that begins now may wait.
func (c *Collector) deadline(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.until
	}
	return now.Add(c.patience)
}
