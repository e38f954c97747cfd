package socketmap

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestIdleConnectionsAreNeverClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 1_000
		ln, srv := newPipes(), &Server{Handler: echo}
		start(t, srv, ln)
		conns := make([]net.Conn, idle)
		for i := range conns {
			conns[i] = ln.dial(t)
			if i%2 == 0 { // half have sent a request before
				send(t, conns[i], frame("sts before"))
				wantNext(t, conns[i], frame("OK sts|before"))
			}
		}
		advanceClock(5 * time.Minute)
		synctest.Wait()
		if n := srv.Conns(); n != idle {
			t.Fatalf("%d of %d connections are open after 5 idle minutes", n, idle)
		}
		for _, conn := range conns {
			send(t, conn, frame("sts after"))
			wantNext(t, conn, frame("OK sts|after"))
		}
	})
}

func TestIdleAfterPartialRequestsHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		start(t, &Server{Handler: echo}, ln)
		conn := ln.dial(t)
		for range 3 {
			send(t, conn, frame("sts a")[:4])
			advanceClock(9 * time.Second)
			send(t, conn, frame("sts a")[4:])
			wantNext(t, conn, frame("OK sts|a"))
			advanceClock(time.Hour) // the deadline of the request must have been cleared
		}
	})
}

func TestSlowRequests(t *testing.T) {
	const question = "15:sts example.com,"
	for _, c := range []struct {
		gap      time.Duration // before each byte after the first
		answered bool
		why      string
	}{
		{500 * time.Millisecond, true, "18 bytes take 9 s, the time is 10 s"},
		{600 * time.Millisecond, false, "10.8 s: later bytes do not extend the time"},
		{time.Hour, false, "the rest never comes"},
	} {
		t.Run(c.gap.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				start(t, &Server{Handler: echo}, ln)
				conn := ln.dial(t)
				advanceClock(time.Hour) // the time before the first byte does not count
				began := time.Now()
				for i := range len(question) {
					if i > 0 {
						advanceClock(c.gap)
					}
					if _, err := io.WriteString(conn, question[i:i+1]); err != nil {
						break
					}
				}
				if c.answered {
					wantNext(t, conn, frame("OK sts|example.com"))
					return
				}
				wantEnd(t, conn)
				if took := time.Since(began); took < DefaultReadTimeout {
					t.Errorf("%s: closed after %v", c.why, took)
				}
			})
		})
	}
}

func TestSlowRequestIsClosedOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, srv := newPipes(), &Server{Handler: echo, ReadTimeout: 3 * time.Second}
		start(t, srv, ln)
		send(t, ln.dial(t), "15:sts exam")
		advanceClock(3*time.Second - 1)
		synctest.Wait()
		if srv.Conns() != 1 {
			t.Error("closed too early")
		}
		advanceClock(1)
		synctest.Wait()
		if srv.Conns() != 0 {
			t.Error("not closed after 3 s")
		}
	})
}

func TestTimeInTheHandlerDoesNotCount(t *testing.T) {
	slow := HandlerFunc(func(ctx context.Context, req Request) Reply {
		advanceClock(time.Minute)
		return echo(ctx, req)
	})
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		start(t, &Server{Handler: slow}, ln)
		conn := ln.dial(t)
		send(t, conn, "7:sts a") // the rest comes together with a part of the next request
		advanceClock(9 * time.Second)
		send(t, conn, "bc,7:sts")
		wantNext(t, conn, frame("OK sts|abc"))
		advanceClock(9 * time.Second)
		send(t, conn, " def,")
		wantNext(t, conn, frame("OK sts|def"))
	})
}

func TestPeerThatNeverReadsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ln, srv := newPipes(), &Server{Handler: echo, Logger: log.Logger()}
		start(t, srv, ln)
		send(t, ln.dial(t), frame("sts a"))
		other := ln.dial(t)
		advanceClock(DefaultWriteTimeout - 1)
		synctest.Wait()
		if srv.Conns() != 2 {
			t.Error("closed too early")
		}
		advanceClock(1)
		synctest.Wait()
		if srv.Conns() != 1 {
			t.Error("a peer that does not read its reply keeps its connection")
		}
		send(t, other, frame("sts b"))
		wantNext(t, other, frame("OK sts|b"))
		if log.Events("socketmap_cut") != 1 {
			t.Errorf("want one line about it:\n%s", log.String())
		}
	})
}

func TestMalformedRequestSeesItsReplyOverTCP(t *testing.T) {
	spec := startTCP(t, &Server{Handler: echo})
	for range 20 {
		conn := dialTCP(t, spec)
		// More bytes than the server reads at once: closing with unread bytes resets the connection and loses the
		// reply.
		send(t, conn, frame("sts a")+"99999:"+strings.Repeat("x", 99_999))
		wantNext(t, conn, frame("OK sts|a")+
			frame("PERM request too long: map name, space and key have at most 10000 bytes"))
		wantEnd(t, conn)
	}
}

func TestEndlessGarbageIsClosedOverTCP(t *testing.T) {
	spec := startTCP(t, &Server{Handler: echo})
	conn := dialTCP(t, spec)
	for {
		if _, err := io.WriteString(conn, strings.Repeat("x", 65_536)); err != nil {
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
				return
			}
			t.Fatal(err)
		}
	}
}

func TestHalfClosedPeerIsAnswered(t *testing.T) {
	conn := dialTCP(t, startTCP(t, &Server{Handler: echo}))
	send(t, conn, frame("sts a")+frame("sts b"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantNext(t, conn, frame("OK sts|a")+frame("OK sts|b"))
	wantEnd(t, conn)
}

func TestPanicEndsOneConnectionOnly(t *testing.T) {
	spec := startTCP(t, &Server{Handler: echo})
	other, unlucky := dialTCP(t, spec), dialTCP(t, spec)
	send(t, other, frame("sts a"))
	wantNext(t, other, frame("OK sts|a"))
	send(t, unlucky, frame("sts panic"))
	wantEnd(t, unlucky)
	send(t, other, frame("sts b"))
	wantNext(t, other, frame("OK sts|b"))
}

func TestSeveralListeners(t *testing.T) {
	srv := &Server{Handler: echo}
	for _, spec := range []string{startTCP(t, srv), startTCP(t, srv)} {
		conn := dialTCP(t, spec)
		send(t, conn, frame("sts a"))
		wantNext(t, conn, frame("OK sts|a"))
	}
	if n := srv.Conns(); n != 2 {
		t.Errorf("Conns() = %d with one connection on each of two listeners", n)
	}
}

func TestLogsGoToTheDefaultLogger(t *testing.T) {
	if (&Server{}).logger() != slog.Default() {
		t.Error("a nil Logger must be slog.Default()")
	}
}

func TestNoHandler(t *testing.T) {
	ln := newPipes()
	if err := (&Server{}).Serve(ln); err == nil || errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve without a Handler: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error("the listener is still open")
	}
}

// TestServerLeavesNoDescriptors counts descriptors; TestMain checks for goroutines.
func TestServerLeavesNoDescriptors(t *testing.T) {
	dir, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	before := len(dir)
	for range 50 {
		srv := &Server{Handler: echo}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- srv.Serve(ln) }()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		send(t, conn, frame("sts a"))
		wantNext(t, conn, frame("OK sts|a"))
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, conn)
		conn.Close()
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Fatal(err)
		}
	}
	if dir, err = os.ReadDir("/dev/fd"); err != nil || len(dir) > before+5 {
		t.Errorf("%d descriptors before, %d after (%v)", before, len(dir), err)
	}
}
