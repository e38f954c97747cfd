package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/check"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// mailLogs is the mail log that a command reads: the files that were named, else this host's log files, else its
// journal. It is the value of the flag --maillog.
type mailLogs struct {
	chosen bool     // --maillog was given
	files  []string // that were named; "-" is standard input
	since  span     // how far back this host's log is read
	cmd    *cobra.Command
}

const maillogHelp = "the FILEs are logs of Postfix's (plain, gzip or bzip2; - for standard input); without any: this " +
	"host's mail log with its rotated files, or its journal"

// add adds the flags --maillog and --since.
func (m *mailLogs) add(cmd *cobra.Command, since time.Duration) {
	m.cmd, m.since = cmd, span(since)
	cmd.Flags().VarPF(m, "maillog", "", maillogHelp).NoOptDefVal = ownLog
	cmd.Flags().Var(&m.since, "since", "how far back to read this host's log, such as 12h or 7d; with FILEs: all of it "+
		"unless this is given")
}

// ownLog is the value of --maillog without one.
const ownLog = "true"

// Set implements pflag.Value.
func (m *mailLogs) Set(value string) error {
	m.chosen = true
	if value != ownLog {
		m.files = append(m.files, value)
	}
	return nil
}

// String implements pflag.Value.
func (m *mailLogs) String() string { return "" }

// Type implements pflag.Value: the flag needs no value.
func (m *mailLogs) Type() string { return "bool" }

// from is the time from which on lines count; zero for all.
func (m *mailLogs) from(now time.Time) time.Time {
	if len(m.files) > 0 && !m.cmd.Flags().Changed("since") {
		return time.Time{}
	}
	return now.Add(-time.Duration(m.since))
}

// scan hands every event of the log to handle, in the order of the log. All errors are for the user.
func (m *mailLogs) scan(ctx context.Context, now time.Time, handle func(*maillog.Line, maillog.Event)) error {
	from := m.from(now)
	if len(m.files) > 0 {
		_, err := m.scanFiles(ctx, m.files, from, now, handle)
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

func (m *mailLogs) scanFiles(ctx context.Context, files []string, from, now time.Time,
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

func (m *mailLogs) scanInput(ctx context.Context, in *maillog.Input, handle func(*maillog.Line, maillog.Event)) (int64,
	error) {
	if stderr := m.cmd.ErrOrStderr(); term.Width(stderr) > 0 {
		progress := check.NewProgress(stderr)
		defer progress.Clear()
		in.Progress = func(done int64) { progress.Show(readText(in.Name, done, in.Size)) }
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

// span is a length of time as people write it: Go's durations, and whole days.
type span time.Duration

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if n > maxDays {
			err = strconv.ErrRange
		}
	}
	if err != nil || d <= 0 {
		return errors.New("want a time such as 90m, 12h or 7d")
	}
	*s = span(d)
	return nil
}

const maxDays = 36500

// String implements pflag.Value.
func (s *span) String() string { return strings.ReplaceAll(term.Span(time.Duration(*s)), " ", "") }

// Type implements pflag.Value.
func (s *span) Type() string { return "duration" }
