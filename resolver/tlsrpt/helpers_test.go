package tlsrpt

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketPath returns a path for a socket, short enough to be one.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tlsrpt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "collector.sock")
}

// listen opens the collector's socket.
func listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next datagram.
func receive(t *testing.T, conn *net.UnixConn) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(testkit.Hang)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// events is a log handler that sends each log line on a channel.
type events chan slog.Record

func (e events) Enabled(context.Context, slog.Level) bool { return true }
func (e events) WithAttrs([]slog.Attr) slog.Handler       { panic("not expected") }
func (e events) WithGroup(string) slog.Handler            { panic("not expected") }

func (e events) Handle(_ context.Context, r slog.Record) error {
	e <- r
	return nil
}

// next waits for a log line, checks its level and event, and returns its attributes.
func (e events) next(t *testing.T, level slog.Level, event string) map[string]slog.Value {
	t.Helper()
	select {
	case r := <-e:
		attrs := map[string]slog.Value{}
		r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value; return true })
		if r.Level != level || attrs["event"].String() != event {
			t.Fatalf("logged %v %q %v, want %v %s", r.Level, r.Message, attrs, level, event)
		}
		return attrs
	case <-time.After(testkit.Hang):
		t.Fatalf("no log line %s", event)
	}
	return nil
}

func (e events) none(t *testing.T) {
	t.Helper()
	select {
	case r := <-e:
		t.Errorf("logged %v %q", r.Level, r.Message)
	default:
	}
}

func collector(t *testing.T, path string, timeout time.Duration) (*Collector, events) {
	t.Helper()
	log := make(events, 100)
	c := start(path, slog.New(log), timeout)
	t.Cleanup(func() { c.Close() })
	return c, log
}

func checkStats(t *testing.T, c *Collector, sent, dropped uint64) {
	t.Helper()
	if s, d := c.Stats(); s != sent || d != dropped {
		t.Errorf("%d sent and %d dropped, want %d and %d", s, d, sent, dropped)
	}
}

// numbered returns a report with a domain of its own.
func numbered(n int) Report {
	r := sample()
	r.Domain = dnsname.MustParse(fmt.Sprintf("d%d.example.com", n))
	return r
}

func domainOf(t *testing.T, b []byte) string {
	t.Helper()
	var d datagram
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
	return d.Domain
}
