package socketmap

import (
	"sync"
	"time"
)

// logInterval is the shortest time between two log lines of a kind that a peer can cause.
const logInterval = time.Minute

// logLimiter allows one log line in each logInterval and counts the suppressed ones. The zero value is ready for use.
type logLimiter struct {
	mu         sync.Mutex
	next       time.Time
	suppressed int
}

// allow reports whether a line may be written at now, and how many were suppressed since the last one that was.
func (l *logLimiter) allow(now time.Time) (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.suppressed++
		return 0, false
	}
	missed, l.suppressed = l.suppressed, 0
	l.next = now.Add(logInterval)
	return missed, true
}
