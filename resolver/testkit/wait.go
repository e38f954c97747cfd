package testkit

import (
	"context"
	"testing"
	"time"
)

// interval is the time between two calls of done.
const pollInterval = 5 * time.Millisecond

// Hang is the limit of every wait for a condition. It only ends a test that hangs: the result of a test must not depend
// on how long the machine takes. Use a Watch for a bound on time that a test checks.
const Hang = 5 * time.Minute

// Pause waits for d, or until ctx ends, whose error it then returns. Fakes of a network that takes d wait by it. It
// does not wait on a timer that has run already: where two goroutines of a synctest bubble do that at a time, the race
// detector of Go 1.26 crashes, because both run the timer, with the state of one thread.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until calls done every few milliseconds and reports whether it returned true within the limit.
func Until(limit time.Duration, done func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(pollInterval)
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

// Eventually fails the test if done does not return true within the limit. what names the condition in the message.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	if !Until(limit, done) {
		t.Fatalf("%s: not within %v", what, limit)
	}
}
