// Package hostlog reads the mail log for a command: the files that were named, else this host's log files, else its
// journal. Flags are the command's flags for it.
package hostlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Flags are the values of the flags --maillog and --since. Flags is the pflag.Value of --maillog.
type Flags struct {
	Chosen bool     // --maillog was given
	Files  []string // that were named; "-" is standard input
	since  span     // how far back this host's log is read
	cmd    *cobra.Command
}

const help = "the FILEs are logs of Postfix's (plain, gzip or bzip2; - for standard input); without any: this " +
	"host's mail log with its rotated files, or its journal"

// Add adds the flags to a command. since is the default of --since.
func (m *Flags) Add(cmd *cobra.Command, since time.Duration) {
	m.cmd, m.since = cmd, span(since)
	cmd.Flags().VarPF(m, "maillog", "", help).NoOptDefVal = ownLog
	cmd.Flags().Var(&m.since, "since",
		"how far back to read this host's log, a `TIME` such as 12h or 7d; with FILEs: all of it "+
			"unless this is given")
}

// ownLog is the value of --maillog without one.
const ownLog = "true"

// Set implements pflag.Value.
func (m *Flags) Set(value string) error {
	m.Chosen = true
	if value != ownLog {
		m.Files = append(m.Files, value)
	}
	return nil
}

// String implements pflag.Value.
func (m *Flags) String() string { return "" }

// Type implements pflag.Value: the flag needs no value.
func (m *Flags) Type() string { return "bool" }

// From returns the time from which on lines count; zero for all.
func (m *Flags) From(now time.Time) time.Time {
	if len(m.Files) > 0 && !m.cmd.Flags().Changed("since") {
		return time.Time{}
	}
	return now.Add(-time.Duration(m.since))
}

// Scan hands every event of the log to handle, in the order of the log. All errors are for the user: a file that cannot
// be opened or read, a journal that this user may not read, or the end of ctx.
func (m *Flags) Scan(ctx context.Context, now time.Time, handle func(*maillog.Line, maillog.Event)) error {
	from := m.From(now)
	if len(m.Files) > 0 {
		_, err := m.scanFiles(ctx, m.Files, from, now, handle)
		return err
	}
	files := maillog.Find(from)
	events, err := m.scanFiles(ctx, files, from, now, handle)
	if err != nil || events > 0 {
		return err
	}
	in, err := maillog.OpenJournal(ctx, from, now)
	if err == nil {
		_, err = m.scanInput(ctx, in, handle)
	}
	switch {
	case len(files) > 0 && (errors.Is(err, maillog.ErrNoJournal) || errors.Is(err, maillog.ErrNotInJournal)):
		return nil // the files are the log; nothing was logged in that time
	case err != nil:
		return fmt.Errorf("no mail log file on this host, and %w; be root, or name the log: --maillog FILE", err)
	}
	return nil
}

func (m *Flags) scanFiles(ctx context.Context, files []string, from, now time.Time,
	handle func(*maillog.Line, maillog.Event)) (events int64, err error) {
	for _, name := range files {
		in, err := maillog.Open(name, m.cmd.InOrStdin(), now)
		if errors.Is(err, fs.ErrPermission) {
			return events, fmt.Errorf("%w; be root, or a member of the file's group", err)
		}
		if err != nil {
			return events, err
		}
		in.Since = from
		n, err := m.scanInput(ctx, in, handle)
		if events += n; err != nil {
			return events, err
		}
	}
	return events, nil
}

func (m *Flags) scanInput(ctx context.Context, in *maillog.Input, handle func(*maillog.Line, maillog.Event)) (int64,
	error) {
	if waiting := term.NewWaiting(m.cmd.ErrOrStderr()); waiting != nil {
		defer waiting.Clear()
		in.Progress = func(done int64) { waiting.Show(readText(in.Name, done, in.Size)) }
	}
	stats, err := in.Scan(ctx, handle)
	if closed := in.Close(); err == nil {
		err = closed
	}
	return stats.Events, err
}

// readText says how much of an input has been read.
func readText(name string, done, size int64) string {
	if size > 0 {
		return fmt.Sprintf("reading %s: %d%%", name, min(100*done/size, 100))
	}
	return fmt.Sprintf("reading %s: %d MB", name, done/1e6)
}

// span is a flag of the length of a time.
type span time.Duration

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := term.ParseSpan(text)
	if err == nil {
		*s = span(d)
	}
	return err
}

// String implements pflag.Value.
func (s *span) String() string { return strings.ReplaceAll(term.Span(time.Duration(*s)), " ", "") }

// Type implements pflag.Value.
func (s *span) Type() string { return "duration" }
