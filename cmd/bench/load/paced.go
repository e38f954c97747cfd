package load

import (
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// paced asks at fixed times, in turns with the other connections. Each connection is a thread with a blocking socket,
// as each of Postfix's SMTP clients is a process: Go's timers and poller would add a millisecond.
//
// A question that falls due while the previous one is still unanswered is timed from when it was due, so that every
// question that a stall holds up counts. A question that is late because the asker had no processor is timed from when
// it was asked.
func (g *generator) paced(number int, a *asker) error {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	socket, err := blocking(a.conn)
	if err != nil {
		return err
	}
	defer socket.Close()
	interval := time.Duration(float64(time.Second) / g.Rate)
	for i := number; !g.stopped.Load() && (g.Limit == 0 || i < g.Limit); i += g.Conns {
		due := time.Duration(i) * interval
		asked := due // the last answer came too late for this question
		if left := due - time.Since(g.begin); left > 0 {
			pause := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&pause, nil) // a signal may wake it, to ask a little too soon
			asked = time.Since(g.begin)
		}
		a.ask = g.Names.AppendQuestion(a.ask[:0], i)
		if _, err := socket.Write(a.ask); err != nil {
			return err
		}
		got, err := ReadReply(socket, a.reply)
		if err != nil {
			return err
		}
		g.note(a, got, time.Since(g.begin)-asked)
	}
	return nil
}

// blockingSocket reads and writes in the kernel, without Go's poller.
type blockingSocket struct{ file *os.File }

// blocking makes a second, blocking socket of a connection.
func blocking(conn net.Conn) (blockingSocket, error) {
	file, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return blockingSocket{}, err
	}
	return blockingSocket{file}, unix.SetNonblock(int(file.Fd()), false)
}

// Read implements io.Reader.
func (b blockingSocket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(b.file.Fd()), p)
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return 0, io.EOF
		default:
			return n, err
		}
	}
}

// Write implements io.Writer.
func (b blockingSocket) Write(p []byte) (int, error) {
	for {
		n, err := unix.Write(int(b.file.Fd()), p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Close closes this socket; the connection stays open.
func (b blockingSocket) Close() error { return b.file.Close() }
