package world

import (
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Hang is [testkit.Hang]: longer than anything takes that does not hang.
const Hang = testkit.Hang

// Eventually calls done every few milliseconds until it returns true, and fails the test after the limit. The message
// of the failure names what the test waited for.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	testkit.Eventually(t, limit, what, done)
}

// Poll calls done every few milliseconds and reports whether it returned true within the limit.
func Poll(limit time.Duration, done func() bool) bool { return testkit.Until(limit, done) }
