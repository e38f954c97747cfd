package socketmap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// failing is a listener whose first left calls of Accept fail.
type failingListener struct {
	*pipes
	err error

	mu    sync.Mutex
	left  int
	times []time.Time
}

func (f *failingListener) Accept() (net.Conn, error) {
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	fail := f.left > 0
	f.left--
	f.mu.Unlock()
	if fail {
		return nil, f.err
	}
	return f.pipes.Accept()
}

func tooManyFiles() error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

func TestAcceptErrorsAreBackedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ln := &failingListener{pipes: newPipes(), err: tooManyFiles(), left: 11}
		start(t, &Server{Handler: echo, Logger: log.Logger()}, ln)
		conn := ln.dial(t)
		send(t, conn, frame("sts a"))
		wantNext(t, conn, frame("OK sts|a"))

		ln.mu.Lock()
		defer ln.mu.Unlock()
		var gaps []string
		for i := 1; i < 12; i++ {
			gaps = append(gaps, ln.times[i].Sub(ln.times[i-1]).String())
		}
		want := "[5ms 10ms 20ms 40ms 80ms 160ms 320ms 640ms 1s 1s 1s]"
		if got := fmt.Sprint(gaps); got != want {
			t.Errorf("pauses %v, want %v", got, want)
		}
		if log.Events("socketmap_accept_failing") != 1 || log.Events("socketmap_accept_recovered") != 1 {
			t.Errorf("want one line when it begins and one when it ends:\n%s", log.String())
		}
		if !strings.Contains(log.String(), "too many open files") {
			t.Errorf("the cause is missing:\n%s", log.String())
		}
	})
}

func TestFlappingAcceptIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ln := &failingListener{pipes: newPipes(), err: tooManyFiles()}
		start(t, &Server{Handler: echo, Logger: log.Logger()}, ln)
		for range 100 {
			ln.mu.Lock()
			ln.left = 2 // one of them is the Accept that is waiting
			ln.mu.Unlock()
			ln.dial(t)
			synctest.Wait()
		}
		if n := log.Events("socketmap_accept_failing"); n != 1 {
			t.Errorf("%d lines within a minute, want 1", n)
		}
	})
}

func TestShutdownWhileBackingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, srv := &failingListener{pipes: newPipes(), err: tooManyFiles(), left: 1 << 30},
			&Server{Handler: echo, Logger: new(testkit.Log).Logger()}
		done := make(chan error)
		go func() { done <- srv.Serve(ln) }()
		advanceClock(10*time.Second + 100*time.Millisecond) // in the middle of a pause of 1 s
		began := time.Now()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("Serve ended after %v, want at once", took)
		}
	})
}

func TestLostListenerEndsServe(t *testing.T) {
	for _, lost := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL} {
		ln := &failingListener{pipes: newPipes(), err: &net.OpError{Op: "accept", Net: "tcp", Err: lost}, left: 1 << 30}
		err := (&Server{Handler: echo}).Serve(ln)
		if !errors.Is(err, lost) || errors.Is(err, ErrServerClosed) || !strings.Contains(err.Error(), "unix:pipes") {
			t.Errorf("Serve: %v; want an error that names %v and the listener", err, lost)
		}
	}
}

func TestMaxConnsIsKeptByNotAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ln, srv := newPipes(), &Server{Handler: echo, MaxConns: 2, Logger: log.Logger()}
		start(t, srv, ln)
		first := ln.dial(t)
		ln.dial(t)
		third := make(chan net.Conn)
		go func() { third <- ln.dial(t) }()
		synctest.Wait()
		advanceClock(time.Hour)
		if n := srv.Conns(); n != 2 {
			t.Fatalf("%d connections are open, the limit is 2", n)
		}
		if log.Events("socketmap_conn_limit") != 1 {
			t.Errorf("want one line about the limit:\n%s", log.String())
		}
		send(t, first, frame("sts a")) // open connections are served
		wantNext(t, first, frame("OK sts|a"))
		first.Close()
		conn := <-third // and a new one waits and is not refused
		send(t, conn, frame("sts b"))
		wantNext(t, conn, frame("OK sts|b"))
	})
}

func TestShutdownWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ln, srv := newPipes(), &Server{Handler: g, MaxConns: 1}
		done := make(chan error)
		go func() { done <- srv.Serve(ln) }()
		conn := ln.dial(t)
		send(t, conn, frame("sts a"))
		<-g.asked
		ended := shutdown(t.Context(), srv)
		if err := <-done; !errors.Is(err, ErrServerClosed) { // although the one connection is still busy
			t.Errorf("Serve: %v", err)
		}
		g.answer <- OK("true")
		wantNext(t, conn, frame("OK true"))
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestQuietListenerDoesNotHoldUpABusyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet, busy, srv := newPipes(), newPipes(), &Server{Handler: echo, MaxConns: 1}
		start(t, srv, quiet)
		synctest.Wait() // quiet waits in Accept
		start(t, srv, busy)
		conn := busy.dial(t)
		send(t, conn, frame("sts a"))
		wantNext(t, conn, frame("OK sts|a"))
	})
}
