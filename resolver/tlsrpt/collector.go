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
	// queueLength is the number of datagrams that wait for the collector, at most 16 MiB. An outage of this host's
	// network can fail as many fetches at once.
	queueLength      = 256
	collectorTimeout = time.Second // limit for one datagram, and for Close
)

// errTooSlow is logged when reports are made faster than the collector accepts them.
var errTooSlow = errors.New("it accepts datagrams more slowly than they are sent")

// Collector sends reports to the collector's socket. One goroutine writes them, so that Send never waits. It is safe
// for concurrent use. It is made by New and must be closed.
type Collector struct {
	path    string
	log     *slog.Logger
	timeout time.Duration
	queue   chan []byte
	done    chan struct{} // closed when run has returned

	sent, dropped atomic.Uint64
	overflowed    atomic.Bool // the queue was full since the last successful write

	mu            sync.Mutex // of the fields below; never locked while waiting
	closed        bool
	closeDeadline time.Time // once closed: when the rest of the queue is dropped
}

// New returns a Collector for the UNIX datagram socket at path, which need not exist.
func New(path string, log *slog.Logger) *Collector {
	return start(path, log, collectorTimeout)
}

func start(path string, log *slog.Logger, patience time.Duration) *Collector {
	c := &Collector{
		path: path, log: log, timeout: patience,
		queue: make(chan []byte, queueLength),
		done:  make(chan struct{}),
	}
	go c.run()
	return c
}

// Send queues the report and returns at once. A report is dropped and counted if the collector cannot be reached, if
// 256 others are waiting, after Close, and if r has no Datagram.
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

// Stats returns the numbers of reports since New that the collector's socket has accepted and that were dropped. A
// report is counted in one of them when it leaves the queue.
func (c *Collector) Stats() (sent, dropped uint64) {
	return c.sent.Load(), c.dropped.Load()
}

// Close sends the queued reports for at most a second, drops the rest and ends the goroutine. It always returns nil,
// and may be called again.
func (c *Collector) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.closeDeadline = time.Now().Add(c.timeout)
		close(c.queue)
	}
	c.mu.Unlock()
	<-c.done
	return nil
}

// run writes the queued datagrams until Close, and logs when the collector fails and recovers. It has recovered when
// the queue is empty, so that a slow collector causes two log lines, not two for each datagram.
func (c *Collector) run() {
	defer close(c.done)
	var failing bool
	var before uint64 // dropped at the last recovery
	for b := range c.queue {
		failure := c.write(b)
		if failure == nil {
			c.sent.Add(1)
			if c.overflowed.Swap(false) {
				failure = errTooSlow
			}
		} else {
			c.dropped.Add(1)
		}
		switch {
		case failure != nil && !failing:
			failing = true
			c.log.Warn("cannot send reports to the TLSRPT collector; failed policy fetches are counted but not "+
				"reported, "+
				"and mail is not affected; check that the collector runs, and that stsmapd may write to its socket "+
				"(tlsrpt_socket)",
				"event", "tlsrpt_collector_away", "socket", c.path, "error", failure)
		case failure == nil && failing && len(c.queue) == 0:
			failing = false
			dropped := c.dropped.Load()
			c.log.Info("reports reach the TLSRPT collector again",
				"event", "tlsrpt_collector_back", "socket", c.path, "dropped", dropped-before)
			before = dropped
		}
	}
}

// write sends one datagram to the socket at the path. Like libtlsrpt it connects for each datagram: that is cheap,
// finds a restarted collector, and lets the write wait for room, which an unconnected socket could not.
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
		return fmt.Errorf("the collector's socket is full and is not read: %w", err)
	}
	return err
}

// deadline returns the deadline of a write that starts at now.
func (c *Collector) deadline(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.closeDeadline
	}
	return now.Add(c.timeout)
}
