package history

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	// MaxEvents is the number of events that are kept. A new one takes the place of the oldest of the commonest kind,
	// so
	// that a thousand learnt policies do not push out the one failure.
	MaxEvents = 500
	// maxText is the length of an event's text in bytes.
	maxText = 500
)

// Event is a line of the log, of level info or above.
type Event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"event"` // as in the log: event=
	Domain string    `json:"domain,omitempty"`
	Text   string    `json:"text"` // the message and what else the line says
	Level  string    `json:"level"`
}

// Trouble reports whether the line is a warning or an error.
func (e Event) Trouble() bool { return e.Level != slog.LevelInfo.String() }

// Events returns the events of a domain, "" for all, the newest first.
func (r *Recorder) Events(domain string) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []Event{}
	for _, e := range slices.Backward(r.kept.Events) {
		if domain == "" || e.Domain == domain {
			all = append(all, e)
		}
	}
	return all
}

// Add remembers an event.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(e)
	r.changed = true
}

func (r *Recorder) add(e Event) {
	if len(r.kept.Events) >= MaxEvents {
		commonest := ""
		for kind, n := range r.kinds {
			if n > r.kinds[commonest] || n == r.kinds[commonest] && kind < commonest {
				commonest = kind
			}
		}
		i := slices.IndexFunc(r.kept.Events, func(e Event) bool { return e.Kind == commonest })
		r.kept.Events = slices.Delete(r.kept.Events, i, i+1)
		r.kinds[commonest]--
	}
	r.kept.Events = append(r.kept.Events, e)
	r.kinds[e.Kind]++
}

// Handler returns a slog.Handler that remembers the lines of level info or above that have an event, whatever the level
// of the log, and passes all lines on to next.
func (r *Recorder) Handler(next slog.Handler) slog.Handler { return handler{r, next} }

type handler struct {
	recorder *Recorder
	next     slog.Handler
}

// Enabled implements slog.Handler.
func (h handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, line slog.Record) error {
	if e := eventOf(line); e.Kind != "" && line.Level >= slog.LevelInfo {
		h.recorder.Add(e)
	}
	if !h.next.Enabled(ctx, line.Level) {
		return nil
	}
	return h.next.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.recorder, h.next.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.recorder, h.next.WithGroup(name)}
}

// eventOf returns a line as an event, without a kind if the line has none.
func eventOf(line slog.Record) Event {
	e := Event{At: line.Time.UTC().Truncate(time.Second), Level: line.Level.String()}
	var more []string
	line.Attrs(func(a slog.Attr) bool {
		switch value := a.Value.Resolve().String(); a.Key {
		case "event":
			e.Kind = value
		case "domain":
			e.Domain = value
		case "error":
			more = append(more, value)
		case "stack":
		default:
			more = append(more, fmt.Sprintf("%s %s", strings.ReplaceAll(a.Key, "_", " "), value))
		}
		return true
	})
	e.Text = line.Message
	if len(more) > 0 {
		e.Text += ": " + strings.Join(more, ", ")
	}
	if len(e.Text) > maxText {
		e.Text = strings.ToValidUTF8(e.Text[:maxText], "") + "…"
	}
	return e
}
