package httplimit

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

const most = 256

// start serves without any limit of time, and returns the listener.
func start(t *testing.T, h http.HandlerFunc) *listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	l := Set(server, most)(inner)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
		<-served
	})
	return l.(*listener)
}

// crowd opens n connections, each of which sends this and then nothing. They stay open on this side.
func crowd(t *testing.T, l *listener, n int, sent string) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, sent); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	return conns
}

func (l *listener) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// TestSilentConnections: connections that send nothing, or a part of a request, or ask and stay, keep nobody out.
func TestSilentConnections(t *testing.T) {
	l := start(t, func(http.ResponseWriter, *http.Request) {})
	for why, sent := range map[string]string{
		"nothing":              "",
		"half a request":       "GET / HTTP/1.1\r\nHost: 127",
		"a request and no end": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	} {
		crowd(t, l, most+44, sent)
		http.DefaultClient.CloseIdleConnections() // the next request needs a new one
		r, err := http.Get("http://" + l.Addr().String())
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("beside connections that send %s: %v", why, err)
		}
		r.Body.Close()
		if n := l.open(); n > most {
			t.Errorf("%d connections are open, at most %d may be", n, most)
		}
	}
}

// TestBusyConnectionsStay: a connection whose request is being answered is closed only if there is no other.
func TestBusyConnectionsStay(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{}, most+1)
	l := start(t, func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-gate })
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	busy := crowd(t, l, 1, request)[0]
	<-begun
	crowd(t, l, 2*most, "")
	gate <- struct{}{}
	if r, err := http.ReadResponse(bufio.NewReader(busy), nil); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("the request that was being answered: %v", err)
	}
	crowd(t, l, most, request)
	for range most {
		<-begun
	}
	last := crowd(t, l, 1, request)[0]
	<-begun
	close(gate)
	if r, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("one more than all that are being answered: %v", err)
	}
}
