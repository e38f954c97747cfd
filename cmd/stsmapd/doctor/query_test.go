package doctor

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unasked is a resolver that must not be asked anything: to look a Postfix over costs no DNS and no fetch.
type failsIfAsked struct{ t *testing.T }

func (u failsIfAsked) Answer(_ context.Context, q resolver.Question) resolver.Verdict {
	u.t.Errorf("the resolver was asked %v", q)
	return resolver.Verdict{}
}

// fixed answers everything with the same reply.
type fixed socketmap.Reply

func (f fixed) ServeSocketmap(context.Context, socketmap.Request) socketmap.Reply {
	return socketmap.Reply(f)
}

// serve serves socketmaps at an address until the test ends.
func serve(t *testing.T, listener string, handler socketmap.Handler) string {
	t.Helper()
	l, err := socketmap.Listen(listener, socketmap.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server := &socketmap.Server{Handler: handler, Logger: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-done
	})
	kind, _, _ := strings.Cut(listener, ":")
	return kind + ":" + l.Addr().String()
}

// talk is a server that sends the same text on each connection, and then closes it or waits for the client to close.
func talk(t *testing.T, text string, wait func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, text) // the test sees what became of it
			wait(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "inet:" + l.Addr().String()
}

func TestQuery(t *testing.T) {
	dir := t.TempDir()
	ours := tlspolicy.NewHandler(failsIfAsked{t}, slog.New(slog.DiscardHandler))
	inet := serve(t, "inet:127.0.0.1:0", ours)
	unix := serve(t, "unix:"+filepath.Join(dir, "sts.sock"), ours)
	drain := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	hangUp := func(net.Conn) {}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why, endpoint, name string
		kind                AnswerKind
		detail              string
	}{
		{"stsmapd", inet, "sts", Stsmapd, ""},
		{"stsmapd, by another daemon's name for a map", inet, "QUERYwithTLSRPT", Stsmapd, ""},
		{"stsmapd at a socket", unix, "sts+dane+strict", Stsmapd, ""},
		{"a name that stsmapd does not know", inet, "stss", UnknownMap, `unknown map name "stss"`},
		{"a server that never knows anything", serve(t, "inet:127.0.0.1:0", fixed(socketmap.NotFound())), "sts",
			OtherMap, ""},
		{"a server that knows everything", serve(t, "inet:127.0.0.1:0", fixed(socketmap.OK("may"))), "sts", OtherMap,
			""},
		{"a server that refuses, as others do", serve(t, "inet:127.0.0.1:0", fixed(socketmap.Perm("unknown map"))),
			"sts", OtherMap, ""},
		{"a mail server", talk(t, "220 mx.example.com ESMTP\r\n", drain), "sts", NoSocketmap, "not a socketmap reply"},
		{"a server that hangs up", talk(t, "", hangUp), "sts", NoSocketmap, "closed the connection"},
		{"nobody", "inet:127.0.0.1:1", "sts", NoConnection, "connection refused"},
		{"no socket", "unix:" + filepath.Join(dir, "gone"), "sts", NoConnection, "no such file"},
		{"a file", "unix:" + file, "sts", NoConnection, "connection refused"},
		{"a path that is too long to try", "unix:/" + strings.Repeat("x", 200), "sts", NotQueried, ""},
	} {
		got := query(t.Context(), Query{Endpoint: c.endpoint, Map: c.name})
		if got.Kind != c.kind || !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%s: got %d %q, want %d …%s…", c.why, got.Kind, got.Detail, c.kind, c.detail)
		}
	}
}

// TestQueryLimit: who gives no answer is waited for no longer than the caller likes, and all at the same time.
func TestQueryLimit(t *testing.T) {
	mute := talk(t, "", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := []Query{{Endpoint: mute, Map: "sts"}, {Endpoint: mute, Map: "sts+dane"},
		{Endpoint: "inet:127.0.0.1:1", Map: "sts"}}
	answers := queryAll(ctx, calls)
	if len(answers) != len(calls) {
		t.Errorf("%d answers to %d calls", len(answers), len(calls))
	}
	for call, answer := range answers {
		if answer.Kind == Stsmapd || answer.Kind == OtherMap {
			t.Errorf("%v is answered %v", call, answer)
		}
	}
}
