package clock

import "time"

// start is what Ticks counts from: long before any time that a program sees.
var start = time.Now().Add(-50 * 365 * 24 * time.Hour)

// Monotonic is the time now with a reading of the monotonic clock, which UTC would drop: such times compare, and
// differ, by what has passed between them, however the wall clock is set meanwhile. For what lives in memory alone.
func Monotonic() time.Time { return time.Now() }

// Ticks is a time of Monotonic as a number: nanoseconds; 0 for the zero time.
func Ticks(t time.Time) int64 { return int64(max(0, t.Sub(start))) }

// OfTicks is the time of a number of Ticks, as the wall clock shows it now.
func OfTicks(n int64) time.Time {
	now := Monotonic()
	return now.Add(time.Duration(n - Ticks(now)))
}
