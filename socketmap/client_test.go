package socketmap

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestClientAsks(t *testing.T) {
	dir := t.TempDir()
	srv := &Server{Handler: echo}
	unix := "unix:" + dir + "/sock"
	start(t, srv, listen(t, unix, ListenOptions{}))
	for _, spec := range []string{startTCP(t, srv), unix} {
		c, err := Dial(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, q := range []struct {
			name, key string
			want      Reply
		}{
			{"sts", "example.com", OK("sts|example.com")},
			{"sts", "unknown", NotFound()},
			{"sts+tlsrpt", "a key with spaces", OK("sts+tlsrpt|a key with spaces")},
			{"sts", "\xff\x00", OK("sts|\xff\x00")},
			{"sts", strings.Repeat("k", 9996), OK("sts|" + strings.Repeat("k", 9996))},
		} {
			if got, err := c.Ask(t.Context(), q.name, q.key); err != nil || got != q.want {
				t.Errorf("%s: Ask(%q, %.40q) = %.60v, %v", spec, q.name, q.key, got, err)
			}
		}
	}
}

func TestClientAcceptsTheLongestReply(t *testing.T) {
	want := OK(strings.Repeat("x", MaxData))
	spec := startTCP(t, &Server{Handler: HandlerFunc(func(context.Context, Request) Reply { return want })})
	c, err := Dial(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := c.Ask(t.Context(), "sts", "a"); err != nil || got != want {
		t.Errorf("%d bytes of data, %v", len(got.Data()), err)
	}
}

func TestClientRefusesBadRequestsItself(t *testing.T) {
	spec := startTCP(t, &Server{Handler: echo})
	c, err := Dial(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, q := range []struct{ name, key, why string }{
		{"", "a", "no map name"},
		{"sts dane", "a", "the server would read dane as the beginning of the key"},
		{"sts", strings.Repeat("k", 9997), "one byte too long"},
	} {
		var bad *requestError
		if _, err := c.Ask(t.Context(), q.name, q.key); !errors.As(err, &bad) {
			t.Errorf("%s: %v, want a *requestError", q.why, err)
		}
	}
	if _, err := c.Ask(t.Context(), "sts", "a"); err != nil {
		t.Errorf("the connection is still good, but: %v", err)
	}
}

// clientOf returns a client whose server reads one request, sends the bytes of reply, and closes the connection.
func clientOf(t *testing.T, reply string) *Client {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		if _, err := io.ReadFull(theirs, make([]byte, len(frame("sts a")))); err == nil {
			_, _ = io.WriteString(theirs, reply) // the client may close before it has read everything
		}
	}()
	t.Cleanup(func() { ours.Close(); <-done })
	return &Client{conn: ours}
}

func TestClientAndBadServers(t *testing.T) {
	for _, c := range []struct {
		reply, want, why string
	}{
		{"220 mail.example.com ESMTP\r\n", "byte 3", "an SMTP server"},
		{"HTTP/1.1 400 Bad Request\r\n", "byte 0", "a web server"},
		{frame("250 OK"), "unknown status", "netstrings, but not socketmap"},
		{"5:OK", "inside the reply", "half a reply"},
		{frame("OK a") + frame("OK b"), "more than one reply",
			"two replies to one request: the next request would get the wrong one"},
		{"999999999999999999999:", "over the limit", "too long"},
	} {
		client := clientOf(t, c.reply)
		reply, err := client.Ask(t.Context(), "sts", "a")
		var bad *replyError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Ask = %v, %v; want a *replyError with %q", c.why, reply, err, c.want)
		}
		if _, again := client.Ask(t.Context(), "sts", "a"); !errors.Is(again, err) {
			t.Errorf("%s: asked again, it says %v", c.why, again)
		}
	}
}

func TestClientSeesAHangup(t *testing.T) {
	if _, err := clientOf(t, "").Ask(t.Context(), "sts", "a"); !errors.Is(err, ErrHungUp) {
		t.Errorf("hung up after the request: %v", err)
	}
	for _, spec := range []string{"inet:127.0.0.1:0", "unix:" + t.TempDir() + "/sock"} {
		srv, ln := &Server{Handler: echo}, listen(t, spec, ListenOptions{})
		start(t, srv, ln)
		kind, _, _ := strings.Cut(spec, ":")
		c, err := Dial(t.Context(), kind+":"+ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Ask(t.Context(), "sts", "a"); err != nil {
			t.Fatal(err)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Ask(t.Context(), "sts", "a"); !errors.Is(err, ErrHungUp) {
			t.Errorf("%s: hung up between requests: %v", spec, err)
		}
	}
}

// lateCancel is a connection on which the reply arrives while the client's context is cancelled.
type lateCancel struct {
	script
	cancel context.CancelFunc
	cut    chan struct{}
}

func (l *lateCancel) Read(p []byte) (int, error) {
	l.cancel()
	<-l.cut
	return l.script.Read(p)
}

func (l *lateCancel) SetDeadline(time.Time) error {
	close(l.cut)
	return nil
}

func TestClientCancelledWhileTheReplyComes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &Client{conn: &lateCancel{script{chunks: []string{frame("OK a"), frame("OK b")}}, cancel, make(chan struct{})}}
	if reply, err := c.Ask(ctx, "sts", "a"); err != nil || reply != OK("a") {
		t.Errorf("a reply that came is a reply: %v, %v", reply, err)
	}
	if _, err := c.Ask(t.Context(), "sts", "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("the connection's deadline is in the past, want %v, got %v", context.Canceled, err)
	}
}

func TestClientKeepsToItsContext(t *testing.T) {
	g := newGate()
	spec := startTCP(t, &Server{Handler: g})
	c, err := Dial(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Ask(ended, "sts", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("asked with an ended context: %v", err)
	}

	ctx, cancelFor := context.WithCancelCause(t.Context())
	cause := errors.New("the user pressed ^C")
	go func() {
		<-g.asked
		cancelFor(cause)
	}()
	if _, err := c.Ask(ctx, "sts", "b"); !errors.Is(err, cause) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("cancelled while waiting: %v", err)
	}
	if _, err := c.Ask(t.Context(), "sts", "c"); !errors.Is(err, cause) {
		t.Errorf("the late reply to b must not be returned for c, but: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	missing := "unix:" + t.TempDir() + "/missing"
	if _, err := Dial(t.Context(), missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("no server: %v", err)
	}
	var bad *SpecError
	if _, err := Dial(t.Context(), "127.0.0.1:8461"); !errors.As(err, &bad) {
		t.Errorf("no address: %v", err)
	}
}
