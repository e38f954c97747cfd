package socketmap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// outlet writes to a connection, and gives up on a peer that does not take the bytes within limit.
//
// A reply nearly always fits into the socket's buffer at once. To set a deadline for it all the same, and to look at
// the clock for that, would take longer than all else that the server does for a question. So a socket is tried first,
// and gets its deadline only when it is full.
type outlet struct {
	conn  net.Conn
	limit time.Duration

	raw     syscall.RawConn    // nil: conn is no socket of the kernel's, and always gets a deadline
	try     func(uintptr) bool // o.writeSome, bound once
	rest    []byte             // what is still to be written
	err     error              // of writeSome
	blocked bool               // the socket was full: it has a deadline
}

func newOutlet(conn net.Conn, limit time.Duration) *outlet {
	o := &outlet{conn: conn, limit: limit}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			o.raw, o.try = raw, o.writeSome
		}
	}
	return o
}

// write writes all of p.
func (o *outlet) write(p []byte) error {
	if o.raw == nil {
		if err := o.startClock(); err != nil {
			return err
		}
		_, err := o.conn.Write(p)
		return err
	}
	o.rest, o.err = p, nil
	err := errors.Join(o.raw.Write(o.try), o.err)
	o.rest = nil
	if o.blocked && err == nil {
		o.blocked = false
		err = o.conn.SetWriteDeadline(time.Time{})
	}
	return err
}

// startClock gives the peer its time.
func (o *outlet) startClock() error { return o.conn.SetWriteDeadline(time.Now().Add(o.limit)) }

// writeSome writes what the socket takes; false: wait until it takes more.
func (o *outlet) writeSome(fd uintptr) (done bool) {
	for len(o.rest) > 0 && o.err == nil {
		n, err := syscall.Write(int(fd), o.rest)
		switch {
		case n > 0:
			o.rest = o.rest[n:]
		case err == syscall.EINTR:
		case err == syscall.EAGAIN && o.blocked:
			return false
		case err == syscall.EAGAIN:
			o.blocked, o.err = true, o.startClock()
		case err != nil:
			o.err = fmt.Errorf("write: %w", err)
		default:
			o.err = io.ErrUnexpectedEOF
		}
	}
	return true
}
