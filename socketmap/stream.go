package socketmap

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// stream is a connection that does no more system calls than it needs. On a kernel's socket, all steps of each are made
// inside one call of the runtime's poller, which loses no event in between. So where a read has taken all that was
// there, the next one can wait for an event, and no read is needed that finds nothing: a third of the system calls.
type stream struct {
	net.Conn
	limit time.Duration // for the peer to accept what is written

	fd    int  // the socket inside each, else noSocket
	short bool // the last Read on fd has emptied the socket. The peer's end may have come too, which is no new event.
}

const noSocket = -1

// errWait is returned by Read, and by the steps of each, when there is nothing to read yet. Only each handles it.
var errWait = errors.New("nothing to read yet")

func newStream(conn net.Conn, limit time.Duration) *stream {
	return &stream{Conn: conn, limit: limit, fd: noSocket}
}

// each calls step until it fails, and returns its error. After errWait it calls step again at the next event of the
// socket, and returns the error of the wait, such as that of a read deadline. Close waits until the step has returned.
func (s *stream) each(step func() error) (err error) {
	steps := func() (done bool) {
		for err = nil; err == nil; {
			err = step()
		}
		return err != errWait
	}
	socket, ok := s.Conn.(syscall.Conn)
	if !ok {
		steps()
		return err
	}
	defer func() { s.fd = noSocket }()
	raw, failed := socket.SyscallConn()
	if failed == nil {
		failed = raw.Read(func(fd uintptr) bool {
			s.fd = int(fd)
			return steps()
		})
	}
	if failed != nil {
		return failed
	}
	return err
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if s.fd == noSocket {
		return s.Conn.Read(p)
	}
	for {
		n, err := syscall.Read(s.fd, p)
		switch {
		case n > 0:
			s.short = n < len(p)
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == syscall.EAGAIN:
			return 0, errWait
		case err != syscall.EINTR:
			return 0, err
		}
	}
}

// write writes all of p. A reply nearly always fits into the socket's buffer, and reading the clock and setting a
// deadline would take longer than everything else that the server does for a request. So only what does not fit gets a
// deadline.
func (s *stream) write(p []byte) error {
	if s.fd != noSocket {
		n, _ := syscall.Write(s.fd, p) // an error returns when the rest is written
		if p = p[max(n, 0):]; len(p) == 0 {
			return nil
		}
	}
	if err := s.SetWriteDeadline(time.Now().Add(s.limit)); err != nil {
		return err
	}
	if _, err := s.Conn.Write(p); err != nil {
		return err
	}
	return s.SetWriteDeadline(time.Time{})
}

// CloseWrite ends what the peer can read. Close would do more, but wait for a step that makes a reply.
func (s *stream) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Close()
}
