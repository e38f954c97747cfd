package maillog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Why there is no journal to read. The caller should ask for a log file.
var (
	// ErrNoJournal: this host has no journalctl.
	ErrNoJournal = errors.New("journalctl is not installed")
	// ErrNotInJournal: the journal knows no unit of Postfix's, or this user may not read it; root may.
	ErrNotInJournal = errors.New("the systemd journal has nothing of Postfix (units postfix*) that this user may read")
)

// JournalError is what journalctl said when it gave no log, or not all of it. Often this user may not read the journal.
type JournalError struct {
	Text string // what it wrote to standard error, at most 1,000 bytes
	Err  error  // its exit status, nil for success
}

// Error implements error.
func (e *JournalError) Error() string {
	switch {
	case e.Text == "":
		return fmt.Sprintf("journalctl failed: %v", e.Err)
	case e.Err == nil:
		return "journalctl: " + e.Text
	default:
		return fmt.Sprintf("journalctl failed: %v: %s", e.Err, e.Text)
	}
}

// Unwrap returns the exit status.
func (e *JournalError) Unwrap() error { return e.Err }

// journalUnits are Postfix's units: postfix.service, or postfix@-.service and one for each instance.
const journalUnits = "postfix*"

// journalFields are what is needed; journalctl adds the time. It keeps the log's other fields, most of the bytes, out
// of the pipe.
const journalFields = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_HOSTNAME"

// OpenJournal runs journalctl as a child process, for Postfix's units and what is newer than since (all, if it is
// zero). The child ends with the context, or with Close. Scan's end of input does not tell whether journalctl
// succeeded: Close does, with ErrNotInJournal or a *JournalError. The error of OpenJournal is ErrNoJournal, or the
// system's.
func OpenJournal(ctx context.Context, since, now time.Time) (*Input, error) {
	return openJournal(ctx, "journalctl", since, now)
}

func openJournal(ctx context.Context, program string, since, now time.Time) (*Input, error) {
	args := []string{"--output=export", "--output-fields=" + journalFields, "--no-pager", "--quiet", "--unit=" +
		journalUnits}
	if !since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(since.Unix(), 10))
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0")
	cmd.WaitDelay = time.Second
	said := &headWriter{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("running journalctl: %w", err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, ErrNoJournal
		}
		return nil, fmt.Errorf("running journalctl: %w", err)
	}
	child := &journalChild{cmd: cmd, out: out, cancel: cancel, said: said}
	in, err := NewInput("the journal", child, now)
	if err != nil {
		return nil, errors.Join(err, child.end())
	}
	in.Since, in.close = since, child.end
	return in, nil
}

// journalChild is the running journalctl.
type journalChild struct {
	cmd    *exec.Cmd
	out    io.Reader
	cancel context.CancelFunc
	said   *headWriter
	read   int64
	ended  bool // it has closed its output by itself
}

func (c *journalChild) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	c.read += int64(n)
	c.ended = c.ended || err != nil
	return n, err
}

// end stops the child, and returns what went wrong unless it had to be stopped.
func (c *journalChild) end() error {
	if !c.ended {
		c.cancel()
		_ = c.cmd.Wait() // it was killed
		return nil
	}
	err := c.cmd.Wait()
	c.cancel()
	text := c.said.text()
	if c.read == 0 && strings.Contains(text, "add filter for units") { // no unit has a name like this: journalctl fails
		return ErrNotInJournal
	}
	if err != nil || text != "" && c.read == 0 {
		return &JournalError{Text: text, Err: err}
	}
	return nil
}

// headWriter keeps the beginning of what is written.
type headWriter struct{ kept bytes.Buffer }

const maxSaid = 1000

func (w *headWriter) Write(b []byte) (int, error) {
	w.kept.Write(b[:min(len(b), maxSaid-w.kept.Len())])
	return len(b), nil
}

func (w *headWriter) text() string { return strings.Join(strings.Fields(w.kept.String()), " ") }
