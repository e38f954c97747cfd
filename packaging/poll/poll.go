// Package poll waits in tests for what comes by itself, without a sleep whose length would be a guess.
package poll

import (
	"testing"
	"time"
)

// interval is the time between two questions.
const interval = 5 * time.Millisecond

// Until asks done every few milliseconds and reports whether it said yes within the limit.
func Until(limit time.Duration, done func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(interval)
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

// Eventually is Until that fails the test; the message says what was waited for.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	if !Until(limit, done) {
		t.Fatalf("%s: not within %v", what, limit)
	}
}
