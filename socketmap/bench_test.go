package socketmap

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

// fixed is a handler that answers every request with the same reply and does not allocate.
type fixed struct{ reply Reply }

func (f fixed) ServeSocketmap(context.Context, Request) Reply { return f.reply }

func typical() fixed {
	return fixed{OK("secure match=mx1.example.com:mx2.example.com:.example.net servername=hostname")}
}

// exchanger sends requests and reads replies without allocating.
type exchanger struct {
	conn          net.Conn
	ask, received []byte
}

func newExchanger(conn net.Conn, count int, reply Reply) *exchanger {
	return &exchanger{
		conn:     conn,
		ask:      []byte(strings.Repeat(frame("sts example.com"), count)),
		received: make([]byte, count*len(reply.AppendTo(nil))),
	}
}

func (e *exchanger) once() error {
	if _, err := e.conn.Write(e.ask); err != nil {
		return err
	}
	_, err := io.ReadFull(e.conn, e.received)
	return err
}

func TestQuestionsDoNotAllocate(t *testing.T) {
	for _, c := range []struct {
		count int
		reply Reply
		why   string
	}{
		{1, typical().reply, "one request at a time, as Postfix sends them"},
		{100, typical().reply, "pipelined"},
		{1, NotFound(), "the most frequent answer"},
		{1, OK(strings.Repeat("policy_string ", 200)), "a long answer"},
	} {
		conn := dialTCP(t, startTCP(t, &Server{Handler: fixed{c.reply}}))
		e := newExchanger(conn, c.count, c.reply)
		if got := testing.AllocsPerRun(200, func() {
			if err := e.once(); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", c.why, got)
		}
	}
}

func benchmark(b *testing.B, spec string, count int) {
	srv, h := &Server{}, typical()
	srv.Handler = h
	ln, err := Listen(spec, ListenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- srv.Serve(ln) }()
	conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	e := newExchanger(conn, count, h.reply)
	b.ReportAllocs()
	for b.Loop() {
		if err := e.once(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*count)/b.Elapsed().Seconds(), "questions/s")
	conn.Close()
	if err := srv.Shutdown(context.Background()); err != nil {
		b.Fatal(err)
	}
	<-done
}

func BenchmarkQuestionTCP(b *testing.B) { benchmark(b, "inet:127.0.0.1:0", 1) }

func BenchmarkQuestionUnix(b *testing.B) { benchmark(b, "unix:"+b.TempDir()+"/s", 1) }

func BenchmarkQuestionsPipelinedTCP(b *testing.B) { benchmark(b, "inet:127.0.0.1:0", 100) }

// endless is a connection that sends the same complete request left times. It measures the server without the kernel.
type endless struct {
	script
	request string
	left    int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left--; e.left < 0 {
		return 0, io.EOF
	}
	return copy(p, e.request), nil
}

func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkQuestionWithoutKernel(b *testing.B) {
	srv := &Server{Handler: typical()}
	srv.init()
	c := srv.addConn(&endless{request: frame("sts example.com"), left: b.N}, false)
	b.ReportAllocs()
	b.ResetTimer()
	c.serve(srv.ctx)
}
