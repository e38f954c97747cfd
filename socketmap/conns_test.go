package socketmap

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
)

// TestConnsBeforeServe: Conns may be called before and during the start of Serve.
func TestConnsBeforeServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: typical()}
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Serve(l); !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
	})
	if n := s.Conns(); n != 0 {
		t.Errorf("%d connections", n)
	}
	c, err := Dial(t.Context(), "inet:"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Ask(t.Context(), "sts", "example.com"); err != nil || s.Conns() != 1 {
		t.Errorf("%d connections, %v", s.Conns(), err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	all.Wait()
}
