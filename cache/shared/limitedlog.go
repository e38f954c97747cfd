package shared

import (
	"log/slog"
	"sync"
	"time"
)

// logInterval is the least time between two lines of a limitedLog.
const logInterval = time.Minute

// limitedLog logs an error that an engine can cause at any rate: one line in each logInterval. Its zero time logs at
// once.
type limitedLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time // of the last line
}

// error logs a line with the attributes args, as slog.Logger.Error does, unless it is too early for another one.
func (l *limitedLog) error(now time.Time, text string, args ...any) {
	l.mu.Lock()
	due := now.Sub(l.last).Abs() >= logInterval
	if due {
		l.last = now
	}
	l.mu.Unlock()
	if due {
		l.log.Error(text, args...)
	}
}
