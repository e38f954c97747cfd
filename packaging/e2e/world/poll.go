package world

import (
	"testing"
	"time"
)

// Eventually asks done every few milliseconds until it says yes, and fails the test when it has not within the limit. The
// message says what was waited for.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	if !Poll(limit, done) {
		t.Fatalf("%s: not within %v", what, limit)
	}
}

// Poll asks done every few milliseconds and reports whether it said yes within the limit.
func Poll(limit time.Duration, done func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-deadline.C:
			return done()
		}
	}
	return true
}
