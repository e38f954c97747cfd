package socketmap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// writer writes to a connection. A write fails when the peer does not accept all bytes within limit.
//
// A reply nearly always fits into the socket's buffer. Reading the clock and setting a deadline for each reply would
// take longer than everything else that the server does for a request. So the bytes are written first, and a deadline
// is set only when the buffer is full.
type writer struct {
	conn  net.Conn
	limit time.Duration

	raw         syscall.RawConn    // nil: conn is not a kernel socket; a deadline is set for each write
	writeFunc   func(uintptr) bool // w.writeSome; stored so that a write does not allocate
	rest        []byte             // bytes not yet written
	err         error              // of writeSome
	deadlineSet bool               // the socket's buffer was full, and a deadline is set
}

func newWriter(conn net.Conn, limit time.Duration) *writer {
	w := &writer{conn: conn, limit: limit}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			w.raw, w.writeFunc = raw, w.writeSome
		}
	}
	return w
}

// write writes all of p.
func (w *writer) write(p []byte) error {
	if w.raw == nil {
		if err := w.setDeadline(); err != nil {
			return err
		}
		_, err := w.conn.Write(p)
		return err
	}
	w.rest, w.err = p, nil
	err := errors.Join(w.raw.Write(w.writeFunc), w.err)
	w.rest = nil
	if w.deadlineSet && err == nil {
		w.deadlineSet = false
		err = w.conn.SetWriteDeadline(time.Time{})
	}
	return err
}

// setDeadline lets the peer take limit from now.
func (w *writer) setDeadline() error { return w.conn.SetWriteDeadline(time.Now().Add(w.limit)) }

// writeSome writes as much as the socket accepts. It returns false when it must be called again once the socket is
// writable.
func (w *writer) writeSome(fd uintptr) (done bool) {
	for len(w.rest) > 0 && w.err == nil {
		n, err := syscall.Write(int(fd), w.rest)
		switch {
		case n > 0:
			w.rest = w.rest[n:]
		case err == syscall.EINTR:
		case err == syscall.EAGAIN && w.deadlineSet:
			return false
		case err == syscall.EAGAIN:
			w.deadlineSet, w.err = true, w.setDeadline()
		case err != nil:
			w.err = fmt.Errorf("write: %w", err)
		default:
			w.err = io.ErrUnexpectedEOF
		}
	}
	return true
}
