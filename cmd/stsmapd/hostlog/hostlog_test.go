package hostlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
)

var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// parse parses a command line; what is no flag's is an argument.
func parse(line ...string) (*Flags, *cobra.Command, error) {
	m := new(Flags)
	cmd := &cobra.Command{Use: "command", Run: func(*cobra.Command, []string) {}}
	m.Add(cmd, 24*time.Hour)
	return m, cmd, cmd.ParseFlags(line)
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		why, line string
		chosen    bool
		files     []string
		from      time.Duration // before now; 0: all
		err       string
	}{
		{"the default", "", false, nil, 24 * time.Hour, ""},
		{"this host's log", "--maillog", true, nil, 24 * time.Hour, ""},
		{"this host's log, for a week", "--maillog --since 7d", true, nil, 7 * 24 * time.Hour, ""},
		{"a file is read whole", "--maillog=mail.log", true, []string{"mail.log"}, 0, ""},
		{"a file, as far back as is said", "--maillog=mail.log --since 90m", true, []string{"mail.log"},
			90 * time.Minute, ""},
		{"two files, in the order that is said", "--maillog=b --maillog=a", true, []string{"b", "a"}, 0, ""},
		{"standard input", "--maillog=-", true, []string{"-"}, 0, ""},
		{"no length of time", "--since week", false, nil, 0, "want a time such as 90m, 12h or 7d"},
		{"in the future", "--since=-1h", false, nil, 0, "want a time such as 90m, 12h or 7d"},
		{"nothing at all", "--since 0d", false, nil, 0, "want a time such as 90m, 12h or 7d"},
		{"longer than time.Duration has", "--since 999999d", false, nil, 0, "want a time such as 90m, 12h or 7d"},
	} {
		m, _, err := parse(strings.Fields(c.line)...)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.why, err, c.err)
			}
			continue
		}
		from := time.Time{}
		if c.from > 0 {
			from = now.Add(-c.from)
		}
		if err != nil || m.Chosen != c.chosen || !slices.Equal(m.Files, c.files) || !m.From(now).Equal(from) {
			t.Errorf("%s: %+v from %v, %v", c.why, m, m.From(now), err)
		}
	}
}

// line is a delivery at a time.
func line(at time.Time, to string) string {
	return at.Format(time.RFC3339) + " mail postfix/smtp[17]: 4Xabcd: to=<" + to + ">, relay=mx.example.com" +
		"[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n"
}

func zipped(text string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return out.String()
}

// TestScanFiles reads files that were named, in their order, as far back as is asked for, and standard input.
func TestScanFiles(t *testing.T) {
	dir := t.TempDir()
	old, recent := now.Add(-48*time.Hour), now.Add(-time.Hour)
	for name, text := range map[string]string{
		"mail.log.1.gz": zipped(line(old, "old@example.com")), "mail.log": line(recent, "new@example.com"),
		"both": line(old, "old@example.com") + line(recent, "new@example.com"), "empty": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		why, line, stdin string
		want             []string // recipients
		err              string
	}{
		{"two files, one of them compressed", "--maillog=mail.log.1.gz --maillog=mail.log", "",
			[]string{"old@example.com", "new@example.com"}, ""},
		{"only what is recent enough", "--maillog=both --since=2h", "", []string{"new@example.com"}, ""},
		{"standard input", "--maillog=-", line(recent, "in@example.com"), []string{"in@example.com"}, ""},
		{"an empty file is no reason to read the journal", "--maillog=empty", "", nil, ""},
		{"a file that is not there", "--maillog=nowhere", "", nil, "nowhere: no such file"},
	} {
		t.Chdir(dir)
		m, cmd, err := parse(strings.Fields(c.line)...)
		if err != nil {
			t.Fatal(err)
		}
		cmd.SetIn(strings.NewReader(c.stdin))
		cmd.SetErr(&bytes.Buffer{})
		var got []string
		err = m.Scan(t.Context(), now, func(_ *maillog.Line, e maillog.Event) {
			if d, ok := e.(*maillog.Delivery); ok {
				got = append(got, string(d.Recipient))
			}
		})
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", c.why, err, c.err)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

// TestScanEnds: a cancelled context ends it.
func TestScanEnds(t *testing.T) {
	m, cmd, err := parse("--maillog=-")
	if err != nil {
		t.Fatal(err)
	}
	cmd.SetIn(strings.NewReader(strings.Repeat(line(now, "a@example.com"), 100_000)))
	cmd.SetErr(&bytes.Buffer{})
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	err = m.Scan(ctx, now, func(*maillog.Line, maillog.Event) {
		cancel()
		lines++
	})
	if err == nil || lines == 100_000 {
		t.Errorf("%d lines, %v", lines, err)
	}
}
