package socketmap

import (
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

// clocked is a socket that remembers what deadlines its writer got.
type clocked struct {
	net.Conn
	deadlines []time.Time
	set       chan struct{} // takes a note of each
}

func (c *clocked) SetWriteDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	c.set <- struct{}{}
	return c.Conn.SetWriteDeadline(t)
}

func (c *clocked) SyscallConn() (syscall.RawConn, error) { return c.Conn.(syscall.Conn).SyscallConn() }

// socketPairs calls f with two ends of a real connection of each kind that Postfix can use.
func socketPairs(t *testing.T, f func(t *testing.T, ours *clocked, theirs net.Conn)) {
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
			// The kernel lets a buffer grow to many MiB, unless somebody has asked for a size.
			for _, err := range []error{
				ours.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(64 << 10),
				theirs.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64 << 10),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			f(t, &clocked{Conn: ours, set: make(chan struct{}, 100)}, theirs)
		})
	}
}

func TestRepliesThatFitGetNoDeadline(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *clocked, theirs net.Conn) {
		o := newOutlet(ours, time.Nanosecond) // any deadline would be over
		for range 100 {
			if err := o.write([]byte("2:OK,")); err != nil {
				t.Fatal(err)
			}
			wantNext(t, theirs, "2:OK,")
		}
		if len(ours.deadlines) > 0 {
			t.Errorf("deadlines were set: %v", ours.deadlines)
		}
	})
}

// TestSlowReaderIsServedWhole: a full socket starts the clock, and a reader that is in time stops it again.
func TestSlowReaderIsServedWhole(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *clocked, theirs net.Conn) {
		big := strings.Repeat("0123456789abcde\n", 1<<18) // 4 MiB: more than the two sockets hold
		o := newOutlet(ours, time.Hour)
		for range 2 {
			ours.deadlines = nil
			begun := time.Now()
			written := make(chan error, 1)
			go func() { written <- o.write([]byte(big)) }()
			<-ours.set // it is full
			wantNext(t, theirs, big)
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if d := ours.deadlines; len(d) != 2 || d[0].Before(begun.Add(time.Hour)) || !d[1].IsZero() {
				t.Errorf("deadlines %v, want one an hour ahead, and that taken away", d)
			}
			<-ours.set
		}
	})
}

func TestPeerThatTakesNothingIsGivenUpInTime(t *testing.T) {
	const limit = 50 * time.Millisecond
	socketPairs(t, func(t *testing.T, ours *clocked, _ net.Conn) {
		begun := time.Now()
		err := newOutlet(ours, limit).write(make([]byte, 4<<20))
		if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || took < limit {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestCloseEndsAWriteThatWaits: Shutdown does so when its time is over.
func TestCloseEndsAWriteThatWaits(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *clocked, theirs net.Conn) {
		written := make(chan error, 1)
		go func() { written <- newOutlet(ours, time.Hour).write(make([]byte, 4<<20)) }()
		wantNext(t, theirs, "\x00")
		ours.Close()
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want %v", err, net.ErrClosed)
		}
	})
}

func TestWriteToAPeerThatIsGone(t *testing.T) {
	socketPairs(t, func(t *testing.T, ours *clocked, theirs net.Conn) {
		theirs.Close()
		o := newOutlet(ours, time.Hour)
		for {
			err := o.write([]byte("2:OK,")) // TCP takes some before it hears of it
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPeerThatNeverReadsLosesItsConnection is the whole server's part.
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
