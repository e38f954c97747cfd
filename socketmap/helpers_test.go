package socketmap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo replies OK with the map and the key, and with other statuses for a few keys.
var echo = HandlerFunc(func(_ context.Context, req Request) Reply {
	switch string(req.Key) {
	case "":
		if string(req.Map) == "DUMP" {
			return Perm("not here").Last()
		}
		if req.NoKey {
			return NoKeyReply()
		}
	case "unknown":
		return NotFound()
	case "hangup":
		return Hangup()
	case "panic":
		panic("the handler fell over")
	}
	return OK(string(req.Map) + "|" + string(req.Key))
})

// pipes is a listener whose connections are net.Pipes, which work with a fake clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// dial connects and waits until the server has accepted.
func (p *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
	case <-p.closed:
		t.Fatal("the listener is closed")
	}
	t.Cleanup(func() { ours.Close() })
	return ours
}

// start serves ln with srv until the test ends.
func start(t *testing.T, srv *Server, ln net.Listener) {
	t.Helper()
	if srv.Logger == nil {
		srv.Logger = slog.New(slog.DiscardHandler)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = srv.Shutdown(ended) // open connections are closed without waiting
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

// startTCP serves a real TCP port and returns its address for Dial.
func startTCP(t *testing.T, srv *Server) (spec string) {
	t.Helper()
	ln, err := Listen("inet:127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start(t, srv, ln)
	return "inet:" + ln.Addr().String()
}

// dialTCP connects without a Client, to send bytes that a Client would not send.
func dialTCP(t *testing.T, spec string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(spec, "inet:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func frame(payload string) string { return string(netstring.Append(nil, payload)) }

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("send %.40q: %v", text, err)
	}
}

// wantNext checks that the next bytes are want.
func wantNext(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	if err != nil || string(got) != want {
		t.Fatalf("got %.200q, %v; want %.200q", got[:n], err, want)
	}
}

// wantEnd checks that the peer closes the connection without sending more.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Fatalf("want the end of the connection, got %q, %v", rest, err)
	}
}

// pass waits for d on the fake clock of a synctest bubble.
func advanceClock(d time.Duration) { <-time.After(d) }

// script is a net.Conn that returns its chunks, one for each read, and keeps what is written. Deadlines are only
// counted.
type script struct {
	net.Conn // nil: an unexpected call panics

	chunks        []string
	written       bytes.Buffer
	writes        int
	readDeadlines int
	largestRead   int // bytes of the largest buffer given to Read
	lastRead      int // bytes of the last buffer given to Read
}

func (s *script) Read(p []byte) (int, error) {
	s.largestRead, s.lastRead = max(s.largestRead, len(p)), len(p)
	if len(s.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.chunks[0])
	s.chunks[0] = s.chunks[0][n:]
	if s.chunks[0] == "" {
		s.chunks = s.chunks[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.writes++
	return s.written.Write(p)
}

func (s *script) SetReadDeadline(time.Time) error {
	s.readDeadlines++
	return nil
}

func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (s *script) Close() error                     { return nil }

// play serves one connection that sends the chunks.
func play(h Handler, chunks ...string) *script {
	srv := &Server{Handler: h, Logger: slog.New(slog.DiscardHandler)}
	srv.init()
	s := &script{chunks: chunks}
	srv.addConn(s, false).serve(srv.ctx)
	return s
}
