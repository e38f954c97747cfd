package socketmap

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a handler that reports each request on asked and waits for its reply on answer, or until its context ends.
type gate struct {
	asked  chan string
	answer chan Reply
	ended  chan error // the context's error
}

func newGate() *gate {
	return &gate{asked: make(chan string), answer: make(chan Reply), ended: make(chan error, 1)}
}

func (g *gate) ServeSocketmap(ctx context.Context, req Request) Reply {
	g.asked <- string(req.Key)
	select {
	case r := <-g.answer:
		return r
	case <-ctx.Done():
		g.ended <- ctx.Err()
		return NotFound() // untrue; it must not be sent
	}
}

// shutdown calls Shutdown and returns a channel with its result.
func shutdown(ctx context.Context, srv *Server) <-chan error {
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	return done
}

func TestShutdownClosesIdleConnectionsAtOnce(t *testing.T) {
	for _, c := range []struct {
		sent, why string
	}{
		{"", "no request"},
		{"15:sts exam", "a part of a request"},
		{frame("sts a"), "idle after a request"},
		{frame("sts a") + "15:", "idle in a part of the next request"},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln, srv := newPipes(), &Server{Handler: echo}
				start(t, srv, ln)
				conn := ln.dial(t)
				if c.sent != "" {
					send(t, conn, c.sent)
				}
				if len(c.sent) > 0 && c.sent[0] == '5' {
					wantNext(t, conn, frame("OK sts|a"))
				}
				synctest.Wait()
				began := time.Now()
				if err := srv.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantEnd(t, conn)
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %v", took)
				}
				if srv.Conns() != 0 {
					t.Error("a connection is still open")
				}
			})
		})
	}
}

func TestShutdownLetsAnswersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ln, srv := newPipes(), &Server{Handler: g}
		start(t, srv, ln)
		idle, busy := ln.dial(t), ln.dial(t)
		send(t, busy, frame("sts a")+frame("sts b"))
		<-g.asked
		done := shutdown(t.Context(), srv)
		wantEnd(t, idle)
		advanceClock(90 * time.Second) // a reply may take long
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Shutdown returned %v while a request was being answered", err)
		case err := <-g.ended:
			t.Fatalf("the handler's context ended: %v", err)
		default:
		}
		g.answer <- OK("true")
		wantNext(t, busy, frame("OK true"))
		wantEnd(t, busy) // the second request was not answered; the peer sends it again on a new connection
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestShutdownHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ln, srv := newPipes(), &Server{Handler: g}
		start(t, srv, ln)
		conn := ln.dial(t)
		send(t, conn, frame("sts a"))
		<-g.asked
		done := shutdown(t.Context(), srv)
		synctest.Wait()
		g.answer <- Hangup()
		wantEnd(t, conn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestShutdownTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ln, srv := newPipes(), &Server{Handler: g}
		start(t, srv, ln)
		conn := ln.dial(t)
		send(t, conn, frame("sts a"))
		<-g.asked
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		wantEnd(t, conn) // the NOTFOUND of the cancelled handler is not sent
		if err := <-g.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context: %v", err)
		}
	})
}

func TestShutdownDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, srv := newPipes(), &Server{Handler: echo}
		start(t, srv, ln)
		send(t, ln.dial(t), frame("sts a"))
		synctest.Wait() // the server is blocked in writing
		began := time.Now()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != DefaultWriteTimeout {
			t.Errorf("it took %v, the write timeout is %v", took, DefaultWriteTimeout)
		}
	})
}

// halfCloser is a pipe whose CloseWrite does nothing: the peer stays connected and sends nothing.
type halfCloser struct{ net.Conn }

func (halfCloser) CloseWrite() error { return nil }

func TestLingeringEndsByItselfAndByShutdown(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration // before Shutdown
		open int           // connections then
		why  string
	}{
		{0, 1, "Shutdown does not wait for a refused peer"},
		{lingerTime, 0, "a refused peer is closed after a second"},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln, srv := newPipes(), &Server{Handler: echo}
				start(t, srv, ln)
				ours, theirs := net.Pipe()
				ln.conns <- halfCloser{theirs}
				send(t, ours, "G")
				wantNext(t, ours, frame(
					"PERM malformed request: netstring: byte 0: want a digit of the length, got 'G'"))
				advanceClock(c.wait)
				synctest.Wait()
				if n := srv.Conns(); n != c.open {
					t.Errorf("%d connections open, want %d", n, c.open)
				}
				began := time.Now()
				if err := srv.Shutdown(t.Context()); err != nil || time.Since(began) != 0 {
					t.Errorf("Shutdown: %v after %v", err, time.Since(began))
				}
				wantEnd(t, ours)
			})
		})
	}
}

func TestShutdownTwiceAndServeAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ln, srv := newPipes(), &Server{Handler: g}
		start(t, srv, ln)
		conn := ln.dial(t)
		send(t, conn, frame("sts a"))
		<-g.asked
		first, second := shutdown(t.Context(), srv), shutdown(t.Context(), srv)
		synctest.Wait()
		g.answer <- OK("true")
		wantNext(t, conn, frame("OK true"))
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		late := newPipes()
		if err := srv.Serve(late); !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
		if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the late listener is still open")
		}
	})
}

func TestShutdownBeforeServe(t *testing.T) {
	srv := &Server{Handler: echo}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(newPipes()); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// TestShutdownUnderLoad shuts down while requests arrive over TCP: each reply that is sent is complete and true.
func TestShutdownUnderLoad(t *testing.T) {
	const peers = 20
	for range 20 {
		srv := &Server{Handler: echo}
		spec := startTCP(t, srv)
		running, result := make(chan struct{}, peers), make(chan error, peers)
		for range peers {
			go func() { result <- askUntilTheEnd(t.Context(), spec, running) }()
		}
		for range peers {
			<-running
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range peers {
			if err := <-result; !errors.Is(err, ErrHungUp) {
				t.Errorf("a peer saw %v, want a true answer or %v", err, ErrHungUp)
			}
		}
	}
}

// askUntilTheEnd sends requests until the server closes the connection, and returns the error. It sends to running
// after the first reply.
func askUntilTheEnd(ctx context.Context, spec string, running chan<- struct{}) error {
	c, err := Dial(ctx, spec)
	if err != nil {
		running <- struct{}{}
		return err
	}
	defer c.Close()
	for i := 0; ; i++ {
		reply, err := c.Ask(ctx, "sts", "example.com")
		if i == 0 {
			running <- struct{}{}
		}
		if err != nil {
			return err
		}
		if reply != OK("sts|example.com") {
			return errors.New("wrong reply " + reply.String())
		}
	}
}
