package maillog

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script makes a program of a shell's lines, and returns its path.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journalctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// realJournal returns a journalctl that reads the journal of testdata, which has five entries of postfix@-.service,
// among them one with a newline and a byte that is no UTF-8 in its message.
func realJournal(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("journalctl")
	if err != nil {
		t.Fatalf("this test needs journalctl, of systemd: %v", err)
	}
	packed, err := os.Open(filepath.Join("testdata", "postfix.journal.gz"))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err := errors.Join(err, packed.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "postfix.journal")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return script(t, fmt.Sprintf(`exec %s --file=%s "$@"`, program, file))
}

func scanJournal(t *testing.T, program string, since time.Time) (*Report, Stats, error) {
	t.Helper()
	in, err := openJournal(context.Background(), program, since, noon())
	if err != nil {
		t.Fatal(err)
	}
	r := NewReport(DefaultLimits())
	stats, err := in.Scan(context.Background(), r.Add)
	if err != nil {
		t.Errorf("reading: %v", err)
	}
	return r, stats, in.Close()
}

// TestRealJournal: a journal that systemd wrote, read by its own program.
func TestRealJournal(t *testing.T) {
	program := realJournal(t)
	r, stats, err := scanJournal(t, program, time.Time{})
	if err != nil || stats.Events != 5 {
		t.Errorf("%+v, %v", stats, err)
	}
	const want = "example.com: verified=1\n" +
		"example.net: waiting=1\n" +
		"xn--bcher-kva.example: waiting=1 [handshake-failed mx= deferrals=1]"
	got, _, _ := strings.Cut(summarize(r), "\nwaits: ")
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if _, stats, err := scanJournal(t, program, stats.Last.Add(time.Hour)); stats.Lines != 0 || err != nil {
		t.Errorf("newer than its end: %+v, %v", stats, err)
	}
}

// TestNotInRealJournal: the same journal without Postfix's units.
func TestNotInRealJournal(t *testing.T) {
	program := realJournal(t)
	other := script(t,
		`for a; do shift; [ "$a" = '--unit=postfix*' ] && a='--unit=exim*'; set -- "$@" "$a"; done
exec `+program+` "$@"`)
	if _, _, err := scanJournal(t, other, time.Time{}); !errors.Is(err, ErrNotInJournal) {
		t.Error(err)
	}
}

// TestJournalctlFails: what goes wrong with the child is told, and it never stays behind.
func TestJournalctlFails(t *testing.T) {
	const entry = `printf '__CURSOR=x\nSYSLOG_IDENTIFIER=postfix/qmgr\nMESSAGE=4F0C31A2B3: removed\n\n'`
	for _, c := range []struct{ why, lines, want string }{
		{"all is well", entry, ""},
		{"a hint, and entries", "echo Hint: x >&2; " + entry, ""},
		{"a hint, and none", "echo Hint: you are no member of adm >&2", "journalctl: Hint: you are no member of adm"},
		{"it fails without a word", "exit 3", "journalctl failed: exit status 3"},
		{"it fails in the middle", entry + "; echo No space >&2; exit 1", "journalctl failed: exit status 1: No space"},
		{"it talks without an end", "yes x | head -c 100000 >&2; exit 1", "journalctl failed: exit status 1: x x x"},
	} {
		_, _, err := scanJournal(t, script(t, c.lines), time.Time{})
		failed := (*JournalError)(nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.why, err)
		case c.want != "" && (!errors.As(err, &failed) || !strings.HasPrefix(err.Error(), c.want) ||
			len(failed.Text) > maxSaid):
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
	}
	if _, err := openJournal(context.Background(), "stsmapd-no-such-journalctl", time.Time{}, noon()); !errors.Is(err,
		ErrNoJournal) {
		t.Errorf("no journalctl: %v", err)
	}
}

// TestJournalctlStops: a child that would go on for ever ends with the context, and with Close.
func TestJournalctlStops(t *testing.T) {
	forever := script(t,
		`while :; do printf '__CURSOR=x\nSYSLOG_IDENTIFIER=postfix/qmgr\nMESSAGE=4F0C31A2B3: removed\n\n'; done`)
	ctx, cancel := context.WithCancel(context.Background())
	in, err := openJournal(ctx, forever, time.Time{}, noon())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Scan(ctx, func(*Line, Event) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the context: %v", err)
	}
	if err := in.Close(); err != nil && !errors.As(err, new(*JournalError)) {
		t.Errorf("closing: %v", err)
	}
	in, err = openJournal(context.Background(), forever, time.Time{}, noon())
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Errorf("closing early: %v", err)
	}
}
