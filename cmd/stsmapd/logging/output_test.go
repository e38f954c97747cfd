package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestLogFormats(t *testing.T) {
	for _, c := range []struct {
		why     string
		journal bool
		format  Format
		want    []string // prefixes of the lines
		has     string
		hasNot  string
	}{
		{why: "text", format: Text, want: []string{"time=", "time=", "time="}, has: `level=WARN msg="a\nb" event=x`},
		{why: "JSON", format: JSON, want: []string{`{"time":`, `{"time":`, `{"time":`},
			has: `"msg":"a\nb","event":"x"`},
		{why: "text to the journal", journal: true, format: Text,
			want: []string{"<6>level=INFO", "<4>level=WARN", "<3>level=ERROR"}, hasNot: "time=2"},
		{why: "JSON to the journal", journal: true, format: JSON,
			want: []string{`<6>{"level"`, `<4>{"level"`, `<3>{"level"`}, hasNot: `"time":"2`},
	} {
		var b bytes.Buffer
		out := New(&b, c.journal)
		log := out.Logger()
		derived := log.With("event", "x")
		out.Set(slog.LevelInfo, c.format)
		log.Debug("unseen")
		log.Info("one", "time", "told by somebody")
		derived.Warn("a\nb")
		log.WithGroup("g").Error("three", "k", 1)
		out.Close(testkit.Hang)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(c.want) {
			t.Fatalf("%s: %d lines:\n%s", c.why, len(lines), &b)
		}
		for i, prefix := range c.want {
			if !strings.HasPrefix(lines[i], prefix) {
				t.Errorf("%s: line %q does not begin with %q", c.why, lines[i], prefix)
			}
		}
		if !strings.Contains(b.String(), c.has) || c.hasNot != "" && strings.Contains(b.String(), c.hasNot) ||
			!strings.Contains(b.String(), "told by somebody") {
			t.Errorf("%s:\n%s", c.why, &b)
		}
		if c.format == JSON && !json.Valid([]byte(strings.TrimLeft(lines[0], "<>6"))) {
			t.Errorf("%s: not JSON: %s", c.why, lines[0])
		}
	}
}

// TestLogChangesUnderUse changes level and format while others write: each line is whole, in one format or the other.
func TestLogChangesUnderUse(t *testing.T) {
	var b bytes.Buffer
	out := New(&b, false)
	var all sync.WaitGroup
	for i := range 4 {
		log := out.Logger().With("writer", i)
		all.Go(func() {
			for n := range 200 {
				log.Info("line", "n", n)
			}
		})
	}
	all.Go(func() {
		for n := range 200 {
			out.Set(slog.LevelInfo, Format(n%2))
		}
	})
	all.Wait()
	out.Close(testkit.Hang)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	for _, line := range lines {
		if !strings.HasPrefix(line, "time=") && !json.Valid([]byte(line)) {
			t.Errorf("a torn line: %q", line)
		}
	}
	if len(lines) != 800 {
		t.Errorf("%d lines, want 800", len(lines))
	}
}

func TestToJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	its := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for _, c := range []struct {
		why, stream string
		want        bool
	}{
		{"its own", its, true},
		{"not under systemd", "", false},
		{"inherited, but redirected since", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1), false},
		{"nonsense", "journal", false},
	} {
		if got := ToJournal(f, c.stream); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
	if ToJournal(&bytes.Buffer{}, its) {
		t.Error("a buffer is no journal")
	}
}
