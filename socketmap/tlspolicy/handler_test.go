package tlspolicy

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
)

// answers is an Answerer with fixed verdicts. Any other question fails the test.
type answers struct {
	t     *testing.T
	known map[resolver.Question]resolver.Verdict
}

func (a answers) Answer(_ context.Context, q resolver.Question) resolver.Verdict {
	v, ok := a.known[q]
	if !ok {
		a.t.Errorf("unexpected question %+v", q)
	}
	return v
}

func question(domain string, f Features) resolver.Question {
	return resolver.Question{Destination: ParseNextHop(domain).(Domain).Destination, Strict: f.Strict, DANE: f.DANE}
}

func TestHandler(t *testing.T) {
	enforce := resolver.Verdict{Outcome: resolver.Enforce, Policy: held(t, plainPolicy)}
	const secure = "secure match=mx1.example.com:.example.net servername=hostname"
	var log bytes.Buffer
	h := NewHandler(answers{t, map[resolver.Question]resolver.Verdict{
		question("example.com", Features{}):              enforce,
		question("[mail.example.com]", Features{}):       {Outcome: resolver.Absent},
		question("testing.test", Features{}):             {Outcome: resolver.Testing, Policy: held(t, plainPolicy)},
		question("testing.test", Features{Strict: true}): enforce,
		question("closing.test", Features{}):             {Outcome: resolver.Closing},
	}}, slog.New(slog.NewTextHandler(&log, nil)))
	for _, c := range []struct {
		why, maps, key string
		status         socketmap.Status
		data           string
	}{
		{"a policy", "sts", "example.com", socketmap.StatusOK, secure},
		{"another daemon's name", "postfix", "example.com:25", socketmap.StatusOK, secure},
		{"no SNI for an old Postfix", "sts+nosni", "example.com", socketmap.StatusOK,
			"secure match=mx1.example.com:.example.net"},
		{"no policy", "sts", "[mail.example.com]", socketmap.StatusNotFound, ""},
		{"a testing policy", "sts", "testing.test", socketmap.StatusNotFound, ""},
		{"a testing policy with strict", "sts+strict", "testing.test", socketmap.StatusOK, secure},
		{"a parent domain is not looked up", "sts", ".example.com", socketmap.StatusNotFound, ""},
		{"nor is an address", "sts", "[192.0.2.1]:25", socketmap.StatusNotFound, ""},
		{"shadow: NOTFOUND for a policy", "sts+shadow", "example.com", socketmap.StatusNotFound, ""},
		{"shadow without a policy", "sts+shadow", "[mail.example.com]", socketmap.StatusNotFound, ""},
		{"shutting down", "sts", "closing.test", socketmap.StatusHangup, ""},
		{"shutting down, with shadow: NOTFOUND would be untrue", "sts+shadow", "closing.test", socketmap.StatusHangup,
			""},
	} {
		got := h.ServeSocketmap(context.Background(), socketmap.Request{Map: []byte(c.maps), Key: []byte(c.key)})
		if got.Status() != c.status || got.Data() != c.data {
			t.Errorf("%s: %q %q: %v %q", c.why, c.maps, c.key, got.Status(), got.Data())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 ||
		!strings.Contains(log.String(), "event=shadow domain=example.com") ||
		!strings.Contains(log.String(), secure) {
		t.Errorf("the log must hold one line, of the shadowed policy: %s", log.String())
	}
}

func TestHandlerUnknownMaps(t *testing.T) {
	h := NewHandler(answers{t, nil}, slog.New(slog.DiscardHandler))
	for i := range 1000 {
		got := h.ServeSocketmap(context.Background(),
			socketmap.Request{Map: fmt.Appendf(nil, "x%d", i), Key: []byte("example.com")})
		if got.Status() != socketmap.StatusPerm || !strings.Contains(got.Data(), "unknown map name") {
			t.Fatalf("unknown map: %v %q", got.Status(), got.Data())
		}
	}
	if n := len(h.known.Load().parsed); n != 0 {
		t.Errorf("%d unknown map names are remembered", n)
	}
}
