// Package logging writes the daemon's log: lines of text or JSON whose level and format a reload may change, and which
// the systemd journal takes with their priority.
package logging

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
	"time"
)

// Format is how log lines are written.
type Format uint8

// The formats.
const (
	Text Format = iota
	JSON
)

// UnmarshalText implements encoding.TextUnmarshaler. It accepts "text" and "json".
func (f *Format) UnmarshalText(text []byte) error {
	switch string(text) {
	case "text":
		*f = Text
	case "json":
		*f = JSON
	default:
		return fmt.Errorf("invalid log format %q: must be text or json", text)
	}
	return nil
}

// Output writes a log. Its level and format may change while it is in use. It never makes its caller wait for the
// reader of the log: lines wait in a queue, and those that do not fit are dropped, counted, and reported later.
type Output struct {
	level  slog.LevelVar
	format atomic.Uint32 // a Format
	// lines go to the systemd journal: they have no time and begin with their priority
	journal bool
	queue   *queue

	mu   sync.Mutex // for line
	line bytes.Buffer
}

// New returns an Output to w in text format at level info. With journal, w is the systemd journal. Close ends it.
func New(w io.Writer, journal bool) *Output {
	o := &Output{journal: journal}
	log := o.newHandler()
	o.queue = newQueue(w, func(lines uint64) []byte {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped, because the log could not be written "+
			"in time; mail is not affected; check what reads the log", 0)
		r.AddAttrs(slog.String("event", "log_dropped"), slog.Uint64("lines", lines))
		line, _ := log.render(context.Background(), r) // it fails for no record of this kind
		return line
	})
	return o
}

// Write queues text, of whole lines, as it is. It never fails.
func (o *Output) Write(text []byte) (int, error) {
	o.queue.add(text)
	return len(text), nil
}

// Dropped returns the number of lines so far that were not written.
func (o *Output) Dropped() uint64 { return o.queue.dropped.Load() }

// Close waits until the queued lines are written, for at most limit. Later lines are dropped.
func (o *Output) Close(limit time.Duration) { o.queue.close(limit) }

// Set changes level and format. It may be called from any goroutine.
func (o *Output) Set(level slog.Level, format Format) {
	o.level.Set(level)
	o.format.Store(uint32(format))
}

// Logger returns a logger that writes to o.
func (o *Output) Logger() *slog.Logger { return slog.New(o.newHandler()) }

func (o *Output) newHandler() *handler {
	opt := &slog.HandlerOptions{Level: &o.level}
	if o.journal {
		opt.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				return slog.Attr{}
			}
			return a
		}
	}
	return &handler{o, slog.NewTextHandler(&o.line, opt), slog.NewJSONHandler(&o.line, opt)}
}

// handler is a slog.Handler that can change its format.
type handler struct {
	out        *Output
	text, json slog.Handler // they write into out.line
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.out.level.Level() }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	line, err := h.render(ctx, r)
	h.out.queue.add(line)
	return err
}

// render returns the line of a record.
func (h *handler) render(ctx context.Context, r slog.Record) ([]byte, error) {
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line.Reset()
	if o.journal {
		o.line.WriteString(priority(r.Level))
	}
	format := h.text
	if Format(o.format.Load()) == JSON {
		format = h.json
	}
	if err := format.Handle(ctx, cut(r)); err != nil {
		return nil, err
	}
	return bytes.Clone(o.line.Bytes()), nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.out, h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.out, h.text.WithGroup(name), h.json.WithGroup(name)}
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

// ToJournal reports whether w is the systemd journal, whose device and inode are in stream, the variable JOURNAL_STREAM
// (systemd.exec(5)). The variable alone is no proof: a program whose output is redirected inherits it.
func ToJournal(w io.Writer, stream string) bool {
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

// JournalPrefix returns the priority prefix of an error message that is written to w, or "" if w is not the journal.
func JournalPrefix(w any) string {
	if f, ok := w.(*os.File); ok && ToJournal(f, os.Getenv("JOURNAL_STREAM")) {
		return "<3>"
	}
	return ""
}
