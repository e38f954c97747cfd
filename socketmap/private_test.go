package socketmap

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestPrivateListenerIsNotHeldUp: whatever clients do with the connections that are accepted, the program's own
// questions are answered, by the same handler.
func TestPrivateListenerIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, private, srv := newPipes(), NewPrivateListener(), &Server{Handler: echo, MaxConns: 2}
		start(t, srv, ln)
		start(t, srv, private)
		first := ln.dial(t)
		ln.dial(t)
		waiting := make(chan net.Conn)
		go func() { waiting <- ln.dial(t) }()
		synctest.Wait()
		for range 3 { // also while one is open
			c := askPrivately(t, private)
			defer c.Close()
		}
		if n := srv.Conns(); n != 2 {
			t.Errorf("%d connections are counted, want the 2 of clients", n)
		}
		first.Close()
		send(t, <-waiting, frame("sts b")) // three open private connections take nobody's place
	})
}

func askPrivately(t *testing.T, private *PrivateListener) *Client {
	t.Helper()
	c, err := private.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := c.Ask(t.Context(), "sts", "a"); err != nil || reply.String() != "OK sts|a" {
		t.Errorf("answered %v, %v", reply, err)
	}
	return c
}

// TestPrivateDialEnds: nobody waits for a server that does not accept, or has shut down.
func TestPrivateDialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		private, srv := NewPrivateListener(), &Server{Handler: echo}
		late := errors.New("too late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, late)
		defer cancel()
		if _, err := private.Dial(ctx); !errors.Is(err, late) {
			t.Errorf("no server: %v", err)
		}
		done := make(chan error)
		go func() { done <- srv.Serve(private) }()
		c := askPrivately(t, private)
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := c.Ask(t.Context(), "sts", "a"); err == nil {
			t.Error("an open connection is answered after Shutdown")
		}
		if _, err := private.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a new connection after Shutdown: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}
