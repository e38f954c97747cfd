package testkit

import (
	"testing"
	"time"
)

// interval is the time between two questions.
const interval = 5 * time.Millisecond

// Hang is the limit of a wait for what comes by itself. It only ends a test that hangs: no test may be right or wrong
// by how much less the machine takes. A bound on time that decides something is judged by a Watch.
const Hang = 5 * time.Minute

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
