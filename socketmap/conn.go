package socketmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

const (
	maxRequestFrame = maxRequest + len("10000:,")

	batchReplies = keepBuffer // bytes of replies that are collected before they are written

	// The end of a connection that comes together with its last request is no event of its own. It is looked for after
	// each of the first reads, since many programs ask once, and later by a read deadline after a request.
	firstReads = 3
	lookAfter  = 2 * time.Second

	// After the last reply, such as PERM for a malformed frame, the server reads for this long and this many bytes.
	// Otherwise the kernel would reset the connection because of unread bytes, and the peer would not see the reply.
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// States of a connection. Only closeIfIdle changes connIdle to connShut; the connection's own goroutine makes all other
// changes.
const (
	connIdle int32 = iota // waits for bytes; no request is unanswered
	connBusy              // makes or writes a reply
	connShut              // Shutdown has closed it
)

// Reasons for the end of a connection, other than errors of reading and writing.
var (
	errShutdown = errors.New("the server is shutting down")
	errHungUp   = errors.New("the handler closed the connection")
	errEnded    = errors.New("the server has ended the connection after a reply")
)

// conn is one connection with its buffers. Only state is used by more than the connection's own goroutine.
type conn struct {
	srv     *Server
	rwc     *stream
	private bool // of a PrivateListener
	state   atomic.Int32
	in      buffer
	out     []byte // replies not yet written

	deadline deadline // of reading
	reads    int      // that brought bytes, firstReads at most
}

// deadline is what a connection's read deadline is for.
type deadline int

const (
	noDeadline   deadline = iota
	endDeadline           // to look for the end of the connection
	partDeadline          // for the request that has arrived in part
	doneDeadline          // for a request that is answered
)

// closeIfIdle closes the connection if it is waiting for a request. It may be called from any goroutine.
func (c *conn) closeIfIdle() {
	if c.state.CompareAndSwap(connIdle, connShut) {
		c.rwc.Close()
	}
}

// serve answers requests until the connection ends.
func (c *conn) serve(ctx context.Context) {
	defer c.finish()
	var err error
	for err == nil {
		err = c.rwc.each(func() error { return c.exchange(ctx) })
		if c.deadline == endDeadline && c.state.Load() == connIdle && errors.Is(err, os.ErrDeadlineExceeded) {
			err = c.setDeadline(noDeadline, time.Time{}) // of reading; now look for the end
		}
	}
	if errors.Is(err, errEnded) {
		c.linger()
	}
	c.logEnd(err)
}

// finish closes the connection at the end of serve, also after a panic of the handler.
func (c *conn) finish() {
	if p := recover(); p != nil {
		c.srv.logger().Error("panic while answering a request; the connection is closed and Postfix will ask again; "+
			"this is a bug in stsmapd, report it with the stack",
			"event", "socketmap_panic", "peer", c.peer(), "request", excerpt(c.in.unread()), "panic", p, "stack",
			string(debug.Stack()))
		c.flush() // the replies to earlier requests are complete; an error changes nothing
	}
	c.rwc.Close()
	c.srv.tracker.removeConn(c)
}

// exchange reads once, answers the requests that are complete, and makes the connection idle.
func (c *conn) exchange(ctx context.Context) error {
	err := c.in.fill(c.rwc, maxRequestFrame)
	if err == errWait {
		return err
	}
	if !c.state.CompareAndSwap(connIdle, connBusy) {
		return errShutdown
	}
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if err := c.answerAll(ctx); err != nil {
		return err
	}
	again := c.prepareWait()
	// The state is set before closing is read. Shutdown does both in the opposite order, so one of them sees the other.
	c.state.Store(connIdle)
	if c.srv.tracker.closing.Load() {
		return errShutdown
	}
	return again
}

// prepareWait sets the read deadline for what is waited for: between requests without a limit. It returns errWait if
// nothing can be read before the next event.
func (c *conn) prepareWait() error {
	switch {
	case len(c.in.unread()) > 0:
		if c.deadline == partDeadline {
			return nil
		}
		return c.setDeadline(partDeadline, time.Now().Add(c.srv.readTimeout()))
	case c.deadline == doneDeadline:
		return c.setDeadline(noDeadline, time.Time{})
	case !c.rwc.short:
		return nil
	case c.reads < firstReads:
		c.reads++
		return nil
	case c.deadline == noDeadline:
		if err := c.setDeadline(endDeadline, time.Now().Add(lookAfter)); err != nil {
			return err
		}
	}
	return errWait
}

func (c *conn) setDeadline(what deadline, at time.Time) error {
	c.deadline = what
	return c.rwc.SetReadDeadline(at)
}

// answerAll answers each request that is complete in the buffer and writes the replies.
func (c *conn) answerAll(ctx context.Context) error {
	for len(c.in.unread()) > 0 {
		payload, n, err := netstring.Parse(c.in.unread(), maxRequest)
		if errors.Is(err, netstring.ErrIncomplete) {
			break
		}
		if err != nil {
			return c.reject(err)
		}
		reply := c.answer(ctx, payload)
		c.in.consume(n)
		if c.deadline == partDeadline {
			c.deadline = doneDeadline
		}
		if reply.status == StatusHangup {
			return errors.Join(errHungUp, c.flush())
		}
		c.out = reply.AppendTo(c.out)
		if reply.last {
			return c.end()
		}
		if len(c.out) >= batchReplies {
			if err := c.flush(); err != nil {
				return err
			}
		}
		if c.srv.tracker.closing.Load() {
			break // exchange ends the connection; the peer sends the other requests again on a new one
		}
	}
	return c.flush()
}

// answer returns the handler's reply to one request.
func (c *conn) answer(ctx context.Context, payload []byte) Reply {
	name, key, found := bytes.Cut(payload, []byte(" "))
	return c.srv.Handler.ServeSocketmap(ctx, Request{Map: name, Key: key, NoKey: !found})
}

// flush writes the collected replies.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.rwc.write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*keepBuffer {
		c.out = nil
	}
	if err != nil {
		return fmt.Errorf("write reply: %w", err)
	}
	return nil
}

// reject answers a malformed request with PERM. The connection must end: the start of the next request is unknown.
func (c *conn) reject(cause error) error {
	reason := "malformed request: " + cause.Error()
	if errors.Is(cause, netstring.ErrTooLong) {
		reason = fmt.Sprintf("request too long: map name, space and key have at most %d bytes", maxRequest)
	}
	if missed, ok := c.srv.malformedLog.allow(time.Now()); ok {
		c.srv.logger().Warn("received a malformed socketmap request; the connection is closed; "+
			"check which program connects to this address",
			"event", "socketmap_malformed", "peer", c.peer(), "reason", reason,
			"begins", excerpt(c.in.unread()), "not_logged_before", missed)
	}
	c.out = Perm(reason).AppendTo(c.out)
	return c.end()
}

// end writes the collected replies, the last ones of the connection.
func (c *conn) end() error {
	if err := c.flush(); err != nil {
		return err
	}
	return errEnded
}

// linger closes the sending side of the connection, then reads and discards what the peer still sends, up to the
// bounds.
func (c *conn) linger() {
	if c.rwc.CloseWrite() != nil || c.rwc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	c.state.Store(connIdle) // Shutdown may close it now
	if c.srv.tracker.closing.Load() {
		return
	}
	discarded := c.in.data[:cap(c.in.data)]
	for total := 0; total < lingerBytes; {
		n, err := c.rwc.Read(discarded)
		if err != nil {
			return
		}
		total += n
	}
}

// logEnd logs, at level debug, the end of a connection inside a request or a reply.
func (c *conn) logEnd(err error) {
	for _, quiet := range []error{errShutdown, errHungUp, errEnded, net.ErrClosed} {
		if errors.Is(err, quiet) {
			return
		}
	}
	left := len(c.in.unread())
	if errors.Is(err, io.EOF) && left == 0 {
		return // the usual end: the peer has no more requests
	}
	c.srv.logger().Debug("connection ended inside a request or a reply",
		"event", "socketmap_cut", "peer", c.peer(), "unanswered_bytes", left, "err", err)
}

// peer returns the peer's address for log lines, "local" for a UNIX socket.
func (c *conn) peer() string {
	if addr := c.rwc.RemoteAddr(); addr != nil && addr.String() != "" {
		return addr.String()
	}
	return "local"
}

// excerpt returns the first 200 bytes of b, for a log line.
func excerpt(b []byte) string { return string(b[:min(len(b), 200)]) }
