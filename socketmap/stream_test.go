package socketmap

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clocked is a socket that records the write deadlines set on it.
type deadlineRecorder struct {
	net.Conn
	deadlines []time.Time
	set       chan struct{} // receives a value for each
}

func (c *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	c.set <- struct{}{}
	return c.Conn.SetWriteDeadline(t)
}

func (c *deadlineRecorder) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

// socketPairs calls f with two ends of a real connection of each kind that Postfix can use.
func socketPairs(t *testing.T, f func(t *testing.T, ours *deadlineRecorder, theirs net.Conn)) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			theirs, err := net.Dial(network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			ours, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			// Without an explicit size, the kernel lets a buffer grow to many MiB.
			for _, err := range []error{
				ours.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(64 << 10),
				theirs.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64 << 10),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			f(t, &deadlineRecorder{Conn: ours, set: make(chan struct{}, 100)}, theirs)
		})
	}
}

// writeTo writes as conn does.
func writeTo(conn net.Conn, limit time.Duration, text string) error {
	written := errors.New("written")
	s := newStream(conn, limit)
	if err := s.each(func() error { return cmp.Or(s.write([]byte(text)), written) }); err != written {
		return err
	}
	return nil
}

func TestRepliesThatFitGetNoDeadline(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *deadlineRecorder, theirs net.Conn) {
		for range 100 {
			if err := writeTo(ours, time.Nanosecond, "2:OK,"); err != nil { // any deadline would have expired
				t.Fatal(err)
			}
			wantNext(t, theirs, "2:OK,")
		}
		if len(ours.deadlines) > 0 {
			t.Errorf("deadlines were set: %v", ours.deadlines)
		}
	})
}

// TestSlowReaderIsServedWhole: a full buffer sets a deadline, and a reader in time clears it.
func TestSlowReaderIsServedWhole(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *deadlineRecorder, theirs net.Conn) {
		big := strings.Repeat("0123456789abcde\n", 1<<18) // 4 MiB: more than the two sockets hold
		for range 2 {
			ours.deadlines = nil
			begun := time.Now()
			written := make(chan error, 1)
			go func() { written <- writeTo(ours, time.Hour, big) }()
			<-ours.set // the buffer is full
			wantNext(t, theirs, big)
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if d := ours.deadlines; len(d) != 2 || d[0].Before(begun.Add(time.Hour)) || !d[1].IsZero() {
				t.Errorf("deadlines %v, want one an hour ahead, then none", d)
			}
			<-ours.set
		}
	})
}

func TestWriteToAPeerThatReadsNothingTimesOut(t *testing.T) {
	const limit = 50 * time.Millisecond
	socketPairs(t, func(t *testing.T, ours *deadlineRecorder, _ net.Conn) {
		begun := time.Now()
		err := writeTo(ours, limit, strings.Repeat("x", 4<<20))
		if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || took < limit {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestCloseEndsABlockedWrite: Shutdown closes connections when its context ends.
func TestCloseEndsABlockedWrite(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *deadlineRecorder, theirs net.Conn) {
		written := make(chan error, 1)
		go func() { written <- writeTo(ours, time.Hour, strings.Repeat("x", 4<<20)) }()
		wantNext(t, theirs, "x")
		ours.Close()
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want %v", err, net.ErrClosed)
		}
	})
}

func TestWriteToAClosedPeer(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *deadlineRecorder, theirs net.Conn) {
		theirs.Close()
		for {
			err := writeTo(ours, time.Hour, "2:OK,") // TCP accepts some bytes before the reset arrives
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPeerThatNeverReadsLosesItsConnection is the same with a whole server.
func TestPeerThatNeverReadsLosesItsConnection(t *testing.T) {
	for _, spec := range []string{"inet:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(spec, func(t *testing.T) {
			ln, err := Listen(spec, ListenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			start(t, &Server{Handler: echo, WriteTimeout: 50 * time.Millisecond}, ln)
			conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for err == nil {
				_, err = io.WriteString(conn, strings.Repeat(frame("sts a"), 1000))
			}
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Error(err)
			}
		})
	}
}
