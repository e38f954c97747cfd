package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// logFormat is how log lines are written.
type logFormat uint8

const (
	logText logFormat = iota
	logJSON
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *logFormat) UnmarshalText(text []byte) error {
	switch string(text) {
	case "text":
		*f = logText
	case "json":
		*f = logJSON
	default:
		return fmt.Errorf("invalid log format %q: must be text or json", text)
	}
	return nil
}

// logOutput writes the daemon's log. A reload may change its level and format.
type logOutput struct {
	level  slog.LevelVar
	format atomic.Uint32 // a logFormat
	// lines go to the systemd journal: they have no time and begin with their priority
	journal bool

	mu   sync.Mutex // for what follows
	w    io.Writer
	line bytes.Buffer
}

// newLogOutput returns an output to w in text format at level info.
func newLogOutput(w io.Writer, journal bool) *logOutput { return &logOutput{w: w, journal: journal} }

// set changes level and format.
func (o *logOutput) set(level slog.Level, format logFormat) {
	o.level.Set(level)
	o.format.Store(uint32(format))
}

// logger returns a logger that writes to o.
func (o *logOutput) logger() *slog.Logger {
	opt := &slog.HandlerOptions{Level: &o.level}
	if o.journal {
		opt.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(&logHandler{o, slog.NewTextHandler(&o.line, opt), slog.NewJSONHandler(&o.line, opt)})
}

// logHandler is a slog.Handler that can change its format. Each line is one write.
type logHandler struct {
	out        *logOutput
	text, json slog.Handler // they write into out.line
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.out.level.Level() }

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line.Reset()
	if o.journal {
		o.line.WriteString(priority(r.Level))
	}
	format := h.text
	if logFormat(o.format.Load()) == logJSON {
		format = h.json
	}
	if err := format.Handle(ctx, r); err != nil {
		return err
	}
	_, err := o.w.Write(o.line.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.out, h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.out, h.text.WithGroup(name), h.json.WithGroup(name)}
}

// priority returns the prefix that tells the journal the priority of a line (sd-daemon(3)).
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	default:
		return "<7>"
	}
}

// toJournal reports whether w is the systemd journal, whose device and inode are in stream, the variable JOURNAL_STREAM
// (systemd.exec(5)). The variable alone is no proof: a program whose output is redirected inherits it.
func toJournal(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	dev, ino, _ := strings.Cut(stream, ":")
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && dev == strconv.FormatUint(uint64(st.Dev), 10) && ino == strconv.FormatUint(st.Ino, 10)
}

// journalPrefix returns the priority prefix of an error message that is written to w, or "" if w is not the journal.
func journalPrefix(w any) string {
	if f, ok := w.(*os.File); ok && toJournal(f, os.Getenv("JOURNAL_STREAM")) {
		return "<3>"
	}
	return ""
}
