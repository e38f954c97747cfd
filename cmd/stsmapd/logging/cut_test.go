package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestForeignTextIsCut: whatever the values of a line are, it has no more than 1 kB of them, in both formats; short
// ones are whole.
func TestForeignTextIsCut(t *testing.T) {
	list := make([]string, 8200)
	for i := range list {
		list[i] = "a.b"
	}
	for _, c := range []struct {
		why  string
		args []any
		want string // whole
	}{
		{"a text", []any{"mx_hosts", strings.Repeat("mx.example.com,", 3000), "domain", "example.com"}, "example.com"},
		{"a list", []any{"domain", "example.com", "mx", list}, "example.com"},
		{"an error", []any{"domain", "example.com", "error", errors.New(strings.Repeat("x", 44000))}, "example.com"},
		{"several", []any{"a", strings.Repeat("a", 9000), "b", strings.Repeat("b", 9000), "c",
			strings.Repeat("c", 9000), "event", "policy_learnt"}, "policy_learnt"},
		{"not valid UTF-8", []any{"a", strings.Repeat("\xff\xe2\x82", 3000), "event", "e"}, "event"},
		{"characters of several bytes", []any{"a", strings.Repeat("€", 3000), "event", "e"}, "event"},
		{"quotes and control characters", []any{"a", strings.Repeat("\"\x00\\", 9000), "event", "e"}, "event"},
		{"short", []any{"domain", "example.com", "n", 7, "error", errors.New("refused")}, "refused"},
	} {
		for _, format := range []Format{Text, JSON} {
			var b bytes.Buffer
			o := New(&b, false)
			o.Set(slog.LevelInfo, format)
			o.Logger().Info("policy learnt", c.args...)
			o.Close(testkit.Hang)
			const own = 200 // time, level, message, keys and quotes
			if line := b.String(); len(line) > maxText+own || !strings.Contains(line, c.want) {
				t.Errorf("%s: a line of %d bytes: %.300s", c.why, len(line), line)
			}
			if c.why == "short" && strings.Contains(b.String(), "…") {
				t.Errorf("a short line is cut: %s", b.String())
			}
		}
	}
	var b bytes.Buffer
	o := New(&b, false)
	o.Logger().Error("panic", "stack", strings.Repeat("s", 9000))
	o.Close(testkit.Hang)
	if b.Len() < 9000 {
		t.Error("stsmapd's own stack is cut")
	}
}
