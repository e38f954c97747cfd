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

// echo answers with map and key, and a few keys with other statuses.
var echo = HandlerFunc(func(_ context.Context, req Request) Reply {
	switch string(req.Key) {
	case "unknown":
		return NotFound()
	case "hangup":
		return Hangup()
	case "panic":
		panic("the handler fell over")
	}
	return OK(string(req.Map) + "|" + string(req.Key))
})

// pipes is a listener whose connections are net.Pipes, which work under a fake clock.
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

// dial waits until the server accepts.
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

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count is the number of lines with this event.
func (l *logs) count(event string) int { return strings.Count(l.String(), "event="+event+" ") }

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start serves ln with srv and ends both with the test.
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
		_ = srv.Shutdown(ended) // what is still open when a test ends need not end gracefully
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

// dialTCP connects without a Client, for bytes that a Client would not send.
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

// wantNext reads exactly the text.
func wantNext(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	if err != nil || string(got) != want {
		t.Fatalf("got %.200q, %v; want %.200q", got[:n], err, want)
	}
}

// wantEnd checks that the peer closed the connection and sent nothing more.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Fatalf("want the end of the connection, got %q, %v", rest, err)
	}
}

// pass lets d go by on the fake clock of a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }

// script is a net.Conn that delivers its chunks, one a read, and keeps what is written. It has no clock: setting
// deadlines is only counted.
type script struct {
	net.Conn // nil: a call that the test does not expect crashes it

	chunks        []string
	written       bytes.Buffer
	writes        int
	readDeadlines int
	largestRead   int // the largest buffer that was offered
	lastRead      int // the last buffer that was offered
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

// play serves the chunks as one connection.
func play(h Handler, chunks ...string) *script {
	srv := &Server{Handler: h, Logger: slog.New(slog.DiscardHandler)}
	srv.init()
	s := &script{chunks: chunks}
	srv.addConn(s).serve(srv.ctx)
	return s
}
