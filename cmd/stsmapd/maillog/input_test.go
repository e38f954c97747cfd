package maillog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// removedLine is a line of which nothing but a queue id comes.
func removedLine(id string) string {
	return "Nov 23 16:00:02 mail postfix/qmgr[1]: " + id + ": removed"
}

func pack(t *testing.T, parts ...string) string {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts { // as logrotate's concatenated files are
		w := gzip.NewWriter(&out)
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// TestInputs: whole inputs, with what is wrong about them.
func TestInputs(t *testing.T) {
	a, b := removedLine("4F0C31A2B3"), removedLine("4F0C31A2B4")
	long := strings.Repeat("x", readBuffer)
	bz2, err := base64.StdEncoding.DecodeString(packedWithBzip2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why, text, want string
		lines, cut      int64
	}{
		{"two lines", a + "\n" + b + "\n", "4F0C31A2B3 4F0C31A2B4", 2, 0},
		{"no last newline", a + "\n" + b, "4F0C31A2B3 4F0C31A2B4", 2, 0},
		{"as Windows writes it", a + "\r\n" + b + "\r\n", "4F0C31A2B3 4F0C31A2B4", 2, 0},
		{"empty lines", "\n\n" + a + "\n\n" + b + "\n", "4F0C31A2B3 4F0C31A2B4", 2, 0},
		{"a line that is too long", a + "\n" + long + long + long + "\n" + b + "\n", "4F0C31A2B3 4F0C31A2B4", 3, 1},
		{"a long line of ours",
			"Nov 23 16:00:02 mail postfix/smtp[1]: 4F0C31A2B5: to=<u@example.com>, relay=none, status=deferred (" +
				long + ")\n" + b, "4F0C31A2B5 4F0C31A2B4", 2, 1},
		{"zero bytes, as after a crash", a + "\n" + strings.Repeat("\x00", 4096) + b + "\n" + b + "\n",
			"4F0C31A2B3 4F0C31A2B4", 3, 0},
		{"packed, in two parts", pack(t, a+"\n", b+"\n"), "4F0C31A2B3 4F0C31A2B4", 2, 0},
		{"packed with bzip2", string(bz2), "4F0C31A2B3 4F0C31A2B4", 2, 0},
		{"nothing", "", "", 0, 0},
	} {
		in, err := NewInput("-", iotest.HalfReader(strings.NewReader(c.text)), noon())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		stats, err := in.Scan(context.Background(), func(_ *Line, e Event) {
			switch e := e.(type) {
			case *Gone:
				got = append(got, string(e.QueueID))
			case *Delivery:
				got = append(got, string(e.QueueID))
			}
		})
		if strings.Join(got, " ") != c.want || stats.Lines != c.lines || stats.Cut != c.cut || err != nil ||
			in.Close() != nil {
			t.Errorf("%s: %q, %+v, %v; want %q, %d lines, %d cut", c.why, got, stats, err, c.want, c.lines, c.cut)
		}
	}
}

// packedWithBzip2 is the two lines of TestInputs. Go cannot pack with bzip2.
const packedWithBzip2 = "" +
	"QlpoOTFBWSZTWUHZRFsAAB9fgAAQQAD9EDkBAAonpv1AIABgKqptTyjZQNPRDQZpDGExMmAmAAq4rOSbNBsuKO6i9i" +
	"i3sE1VUWDJWmKiSaCSrVJ9ZskWyL2+PzBZNZovSaNUFmy4o/i7kinChIIOyiLY"

func TestInputErrors(t *testing.T) {
	broken := errors.New("input/output error")
	in, err := NewInput("mail.log", io.MultiReader(strings.NewReader(removedLine("4F0C31A2B3")+"\n"),
		iotest.ErrReader(broken)), noon())
	if err != nil {
		t.Fatal(err)
	}
	stats, err := in.Scan(context.Background(), func(*Line, Event) {})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "mail.log") || stats.Events != 1 {
		t.Errorf("a failing disk: %+v, %v", stats, err)
	}
	packed := pack(t, removedLine("4F0C31A2B3")+"\n")
	in, err = NewInput("mail.log.1.gz", strings.NewReader(packed[:len(packed)-9]), noon())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Scan(context.Background(), func(*Line, Event) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a packed file that is cut: %v", err)
	}
	if _, err := NewInput("x", strings.NewReader("\x1f\x8bgarbage that is no gzip"), noon()); !errors.Is(err,
		gzip.ErrHeader) {
		t.Errorf("not packed with gzip after all: %v", err)
	}
	for magic, format := range map[string]string{"\xfd7zXZ\x00": "xz", "\x28\xb5\x2f\xfd__": "zstd"} {
		_, err := NewInput("mail.log.2", strings.NewReader(magic), noon())
		if packed := (*PackedError)(nil); !errors.As(err, &packed) || packed.Format != format ||
			!strings.Contains(err.Error(), format+" -dc mail.log.2") {
			t.Errorf("%s: %v", format, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.log"), nil, noon()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

// TestOpen: a file's last change tells its year, and progress is told in bytes as stored.
func TestOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mail.log.3.gz")
	packed := pack(t, strings.Repeat(removedLine("4F0C31A2B3")+"\n", 1000))
	changed := time.Date(2019, 11, 24, 0, 0, 0, 0, time.UTC)
	if err := errors.Join(os.WriteFile(name, []byte(packed), 0o600), os.Chtimes(name, changed, changed)); err != nil {
		t.Fatal(err)
	}
	in, err := Open(name, nil, noon())
	if err != nil {
		t.Fatal(err)
	}
	in.Zone = time.UTC
	told := int64(0)
	in.Progress = func(done int64) { told = done }
	stats, err := in.Scan(context.Background(), func(l *Line, _ Event) {})
	if err := errors.Join(err, in.Close()); err != nil {
		t.Fatal(err)
	}
	if stats.First.Year() != 2019 || told != int64(len(packed)) || in.Size != told {
		t.Errorf("%+v, progress %d of %d", stats, told, in.Size)
	}
	if stdin, err := Open("-", strings.NewReader(removedLine("4F0C31A2B3")), noon()); err != nil || stdin.Size != 0 ||
		stdin.Close() != nil {
		t.Errorf("standard input: %v", err)
	}
}

func TestSince(t *testing.T) {
	text := strings.Replace(removedLine("4F0C31A2B3"), "23", "22", 1) + "\n" + removedLine("4F0C31A2B4") +
		"\n?? mail postfix/qmgr[1]: 4F0C31A2B5: removed\n"
	in, err := NewInput("mail.log", strings.NewReader(text), noon())
	if err != nil {
		t.Fatal(err)
	}
	in.Zone, in.Since = time.UTC, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	var got []string
	stats, err := in.Scan(context.Background(), func(_ *Line, e Event) { got = append(got, describe(e)) })
	if strings.Join(got, ", ") != "4F0C31A2B4 removed, 4F0C31A2B5 removed" || stats.Events != 2 || stats.Lines != 3 ||
		err != nil {
		t.Errorf("%q, %+v, %v", got, stats, err)
	}
}

// TestCancel: a context ends the reading of a log that does not end.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	in, err := NewInput("mail.log", &generator{left: 1 << 60, domains: 10}, noon())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Scan(ctx, func(*Line, Event) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestRotated: the log's own files and no others, the oldest first, without those that are too old.
func TestRotated(t *testing.T) {
	dir := t.TempDir()
	at := noon()
	// The newest first.
	for _, name := range []string{"mail.log", "mail.log.1", "mail.log-20261122.gz", "mail.log.2.gz",
		"mail.log-20261115-1763164800", "mail.log.3.gz"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
		at = at.Add(-24 * time.Hour)
	}
	for _, name := range []string{"mail.log.old", "mail.log.conf", "mail.log1", "mail.log.gz", "mail.err.1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "mail.log.9"), 0o700); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range withRotated(filepath.Join(dir, "mail.log"), noon().Add(-100*time.Hour)) {
		got = append(got, filepath.Base(name))
	}
	if want := "mail.log-20261115-1763164800 mail.log.2.gz mail.log-20261122.gz mail.log.1 mail.log"; strings.Join(got,
		" ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
