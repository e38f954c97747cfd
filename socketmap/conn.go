package socketmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

const (
	maxRequestFrame = MaxRequest + len("10000:,")

	batchReplies = keepBuffer // replies to questions read together go out in writes of about this many bytes

	// After a PERM for a malformed frame, the server reads on for so long and so much, so that the peer's unread
	// bytes do not make the kernel reset the connection before the peer has seen the reply.
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// States of a connection. Only closeIfIdle takes connIdle to connShut, only the connection's own goroutine
// does the rest.
const (
	connIdle int32 = iota // waits for bytes; nobody is owed an answer
	connBusy              // works on an answer or writes it
	connShut              // Shutdown has closed it
)

// Why a connection ends, besides errors of reading and writing.
var (
	errShutdown  = errors.New("the server shuts down")
	errHungUp    = errors.New("the handler hung up")
	errMalformed = errors.New("malformed request")
)

// conn is one connection and the buffers it owns. Everything but state is for its own goroutine.
type conn struct {
	srv   *Server
	rwc   net.Conn
	state atomic.Int32
	in    buffer
	out   []byte  // replies not yet written
	to    *outlet // where they go

	deadlineSet bool // the socket has a read deadline
	timed       bool // it is that of the request in the buffer
}

// closeIfIdle closes the connection if it waits for a request. It may be called from any goroutine.
func (c *conn) closeIfIdle() {
	if c.state.CompareAndSwap(connIdle, connShut) {
		c.rwc.Close()
	}
}

// serve answers requests until the connection ends.
func (c *conn) serve(ctx context.Context) {
	defer c.finish()
	for {
		if err := c.fill(); err != nil {
			c.logEnd(err)
			return
		}
		if err := c.answerAll(ctx); err != nil {
			c.logEnd(err)
			return
		}
	}
}

// finish runs at the end of serve, after a handler's panic too.
func (c *conn) finish() {
	if p := recover(); p != nil {
		c.srv.logger().Error("answering a request went wrong inside stsmapd, its connection is closed; this is a "+
			"bug, report it",
			"event", "socketmap_panic", "peer", c.peer(), "request", excerpt(c.in.unread()), "panic", p, "stack",
			string(debug.Stack()))
		c.flush() // the replies before the fatal one are sound; an error changes nothing now
	}
	c.rwc.Close()
	c.srv.removeConn(c)
}

// fill waits for bytes. Between requests it waits for ever.
func (c *conn) fill() error {
	if err := c.setReadDeadline(); err != nil {
		return err
	}
	// First idle, then the look at closing. Shutdown does it the other way round, so one of the two sees the other.
	c.state.Store(connIdle)
	if c.srv.closing.Load() {
		return errShutdown
	}
	err := c.in.fill(c.rwc, maxRequestFrame)
	if !c.state.CompareAndSwap(connIdle, connBusy) {
		return errShutdown
	}
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}

// setReadDeadline gives a request that has begun to arrive its time, once, and takes the deadline away when none has.
// When requests arrive whole, it does nothing.
func (c *conn) setReadDeadline() error {
	if len(c.in.unread()) == 0 {
		if !c.deadlineSet {
			return nil
		}
		c.deadlineSet = false
		return c.rwc.SetReadDeadline(time.Time{})
	}
	if c.timed {
		return nil
	}
	c.timed, c.deadlineSet = true, true
	return c.rwc.SetReadDeadline(time.Now().Add(c.srv.readTimeout()))
}

// answerAll answers the requests that are whole in the buffer and writes the replies.
func (c *conn) answerAll(ctx context.Context) error {
	for len(c.in.unread()) > 0 {
		payload, n, err := netstring.Parse(c.in.unread(), MaxRequest)
		if errors.Is(err, netstring.ErrIncomplete) {
			break
		}
		if err != nil {
			return c.reject(err)
		}
		reply := c.answer(ctx, payload)
		c.in.consume(n)
		c.timed = false
		if reply.status == StatusHangup {
			return errors.Join(errHungUp, c.flush())
		}
		c.out = reply.AppendTo(c.out)
		if len(c.out) >= batchReplies {
			if err := c.flush(); err != nil {
				return err
			}
		}
		if c.srv.closing.Load() {
			break // fill ends it; requests that wait behind this one are asked again elsewhere
		}
	}
	return c.flush()
}

// answer has the handler answer one request.
func (c *conn) answer(ctx context.Context, payload []byte) Reply {
	name, key, found := bytes.Cut(payload, []byte(" "))
	if !found {
		return Perm("the request has no space: want a map name, a space and a key")
	}
	return c.srv.Handler.ServeSocketmap(ctx, Request{Map: name, Key: key})
}

// flush writes the replies that wait.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.to.write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*keepBuffer {
		c.out = nil
	}
	if err != nil {
		return fmt.Errorf("write reply: %w", err)
	}
	return nil
}

// reject answers bytes that are no request and ends the connection: nobody can say where the next request begins.
func (c *conn) reject(cause error) error {
	reason := "malformed request: " + cause.Error()
	if errors.Is(cause, netstring.ErrTooLong) {
		reason = fmt.Sprintf("request too long: map name, space and key have at most %d bytes", MaxRequest)
	}
	if missed, ok := c.srv.malformedLog.allow(time.Now()); ok {
		c.srv.logger().Warn("a peer sent what is no socketmap request, its connection is closed; check what connects "+
			"here",
			"event", "socketmap_malformed", "peer", c.peer(), "reason", reason,
			"begins", excerpt(c.in.unread()), "not_logged_before", missed)
	}
	c.out = Perm(reason).AppendTo(c.out)
	if err := c.flush(); err != nil {
		return err
	}
	c.linger()
	return errMalformed
}

// linger ends our side of the connection and reads a bounded while what the peer still sends.
func (c *conn) linger() {
	half, ok := c.rwc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.rwc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	c.state.Store(connIdle) // Shutdown need not wait for this
	if c.srv.closing.Load() {
		return
	}
	scrap := c.in.data[:cap(c.in.data)]
	for total := 0; total < lingerBytes; {
		n, err := c.rwc.Read(scrap)
		if err != nil {
			return
		}
		total += n
	}
}

// logEnd tells at level debug of an end that the peer may wonder about.
func (c *conn) logEnd(err error) {
	for _, quiet := range []error{errShutdown, errHungUp, errMalformed, net.ErrClosed} {
		if errors.Is(err, quiet) {
			return
		}
	}
	left := len(c.in.unread())
	if errors.Is(err, io.EOF) && left == 0 {
		return // the usual end: the peer has no more questions
	}
	c.srv.logger().Debug("a connection ended inside of a request or a reply",
		"event", "socketmap_cut", "peer", c.peer(), "unanswered_bytes", left, "err", err)
}

// peer is the peer's address for log lines; a UNIX socket's peer has none.
func (c *conn) peer() string {
	if addr := c.rwc.RemoteAddr(); addr != nil && addr.String() != "" {
		return addr.String()
	}
	return "local"
}

// excerpt is the beginning of bytes from outside, for a log line.
func excerpt(b []byte) string { return string(b[:min(len(b), 200)]) }
