package testkit

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Log collects the log lines of what is tested. The zero Log is empty; it is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Logger returns a logger of all levels that writes to the log, as text.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// String returns the log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Lines returns the lines that contain all of these texts, without their ends.
func (l *Log) Lines(texts ...string) (found []string) {
lines:
	for line := range strings.Lines(l.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		found = append(found, strings.TrimSuffix(line, "\n"))
	}
	return found
}

// Events returns how many lines have this value of "event".
func (l *Log) Events(event string) int { return len(l.Lines("event=" + event + " ")) }
