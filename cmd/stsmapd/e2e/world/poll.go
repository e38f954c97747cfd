package world

import (
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Hang is [testkit.Hang].
const Hang = testkit.Hang

// Eventually asks done every few milliseconds until it says yes, and fails the test when it has not within the limit.
// The message says what was waited for.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	testkit.Eventually(t, limit, what, done)
}

// Poll asks done every few milliseconds and reports whether it said yes within the limit.
func Poll(limit time.Duration, done func() bool) bool { return testkit.Until(limit, done) }
