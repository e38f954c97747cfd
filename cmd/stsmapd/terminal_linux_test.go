package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// openTerminal returns a real terminal of 60 columns, and a function that ends it and returns what was written to it.
func openTerminal(t *testing.T) (tty *os.File, written func() string) {
	t.Helper()
	tty, written, err := newTerminal(60)
	if err != nil {
		t.Fatalf("no terminal to test with: %v", err)
	}
	return tty, written
}

// terminalCommands are the commands of scripts that need a terminal.
func terminalCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"terminal": runOnTerminal}
}

// runOnTerminal runs a command line on a terminal, and writes what that shows into the file "screen":
//
//	terminal COLUMNS stsmapd ARG...
//
// No line may be longer than the terminal, but one that is a single word.
func runOnTerminal(ts *testscript.TestScript, neg bool, args []string) {
	columns, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	tty, written, err := newTerminal(uint16(columns))
	ts.Check(err)
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), tty, tty, tty
	for _, name := range []string{"PATH", "HOME", "RUNTIME_DIRECTORY"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=1")
	err = cmd.Run()
	screen := strings.ReplaceAll(written(), "\r\n", "\n")
	if (err != nil) != neg {
		ts.Fatalf("%v: %v\n%s", args, err, screen)
	}
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(screen), 0o600))
	for line := range strings.Lines(screen) {
		line = strings.TrimRight(line, "\n")
		if utf8.RuneCountInString(line) > int(columns) && len(strings.Fields(line)) > 1 {
			ts.Fatalf("a line of more than %d characters:\n%s", columns, screen)
		}
	}
}

func newTerminal(columns uint16) (tty *os.File, written func() string, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		return nil, nil, err
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = out.ReadFrom(master) // EIO ends it when the terminal is closed
	}()
	return tty, func() string {
		tty.Close()
		<-done
		master.Close()
		return out.String()
	}, nil
}

// TestHelpFits: the help of each command fits a terminal of 60 columns, but for command lines to paste.
func TestHelpFits(t *testing.T) {
	seen := 0
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard)) {
		tty, written := openTerminal(t)
		root := newRoot(tty, tty)
		root.SetArgs(append(strings.Fields(cmd.CommandPath())[1:], "--help"))
		if err := root.Execute(); err != nil {
			t.Errorf("%s: %v", cmd.CommandPath(), err)
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(written(), "\r\n", "\n"), "\n") {
			seen++
			verbatim := strings.HasPrefix(line, " ") && !strings.Contains(strings.TrimLeft(line, " "), "  ") &&
				strings.Contains("\n"+cmd.Long+"\n"+cmd.Example+"\n", "\n"+line+"\n")
			if utf8.RuneCountInString(line) > 60 && !verbatim {
				t.Errorf("%s: a line of more than 60 characters: %s", cmd.CommandPath(), line)
			}
		}
	}
	if seen < 500 {
		t.Errorf("only %d lines of help", seen)
	}
}

// allCommands returns a command and all below it, but not the library's for the shells.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.Name() != "completion" {
			all = append(all, allCommands(sub)...)
		}
	}
	return all
}

// TestTerminal: colours and progress on a terminal, and nothing of them elsewhere or where they are not wanted.
func TestTerminal(t *testing.T) {
	print := func(out *os.File) {
		s := admin.Status{Problems: []admin.Problem{{Severity: admin.Failing, Text: "a problem"}}}
		if err := s.Print(out, time.Now()); err != nil {
			t.Error(err)
		}
		p := term.NewProgress(out, 100)
		for i := range 100 {
			p.Step(i / 10)
		}
		p.End()
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	tty, written := openTerminal(t)
	print(tty)
	if text := written(); !strings.Contains(text, "\x1b[31ma problem\x1b[0m") || !strings.Contains(text, "1/100, ") ||
		!strings.Contains(text, "100/100, 9 failed") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("on a terminal: %q", text)
	}
	t.Setenv("NO_COLOR", "1")
	tty, written = openTerminal(t)
	print(tty)
	if text := written(); strings.Contains(text, "\x1b[3") || !strings.Contains(text, "100/100") {
		t.Errorf("on a terminal whose user wants no colours: %q", text)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	print(file)
	text, err := os.ReadFile(file.Name())
	if err != nil || bytes.ContainsAny(text, "\x1b\r") || bytes.Contains(text, []byte("100/100")) {
		t.Errorf("in a file: %q, %v", text, err)
	}
}

// TestHostilePolicyText: a policy's own text must not move an administrator's cursor.
func TestHostilePolicyText(t *testing.T) {
	var out bytes.Buffer
	d := admin.Domain{Domain: "evil.example",
		Policy: &admin.Policy{Mode: "enforce", Live: true, MX: []string{"mx.evil.example"},
			Text:          "version: STSv1\r\nx: \u009b2J\u202e\n",
			FetchFailures: &admin.FetchFailures{Count: 1, Reason: "\x1b[2J"}}}
	if err := d.Print(&out, time.Now()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.ContainsAny(text, "\x1b\r\u009b\u202e") ||
		!strings.Contains(text, "\n  x: ?2J?\n") {
		t.Errorf("%q", text)
	}
}

// TestHostileJSON: nor does it in JSON, and what is read of that is what was written.
func TestHostileJSON(t *testing.T) {
	const hostile = "x: \u009b2J\u007f\u0085é\x1b<>\n"
	policy := admin.Policy{Domain: "evil.example", Text: hostile}
	for why, write := range map[string]func(io.Writer) error{
		"one object": func(w io.Writer) error { return term.WriteJSON(w, policy) },
		"lines":      func(w io.Writer) error { return term.NewJSONLines(w).Encode(policy) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); strings.ContainsAny(text, "\x1b\u009b\u007f\u0085") ||
			!strings.Contains(text, "é\\u001b<>") {
			t.Errorf("%s: %q", why, text)
		}
		var again admin.Policy
		if err := json.Unmarshal(out.Bytes(), &again); err != nil || again.Text != hostile {
			t.Errorf("%s: read as %q, %v", why, again.Text, err)
		}
	}
}

// TestInterrupted: warm ends when it is told to, with a summary of what was done.
func TestInterrupted(t *testing.T) {
	var out, errs bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("a.example\nb.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(ctx, []string{"warm", "--control", "unix:/nonexistent/control.sock", list}, &out, &errs); code != 2 {
		t.Errorf("exit code %d", code)
	}
	if !strings.HasPrefix(out.String(), "0 domains\n") ||
		errs.String() != "stsmapd: ended early: 0 of 2 domains were asked about\n" {
		t.Errorf("%q, %q", out.String(), errs.String())
	}
}
