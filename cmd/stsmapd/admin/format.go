package admin

import (
	"fmt"
	"time"
)

// formatTime formats a time for people, in UTC; "never" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// formatRelative formats a time relative to now: "in 6 days", "3 hours ago"; "" for the zero time.
func formatRelative(now, t time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return ""
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return formatDuration(-d) + " ago"
	default:
		return "in " + formatDuration(d)
	}
}

// formatDuration formats a duration in its greatest unit, rounded down.
func formatDuration(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := d / unit.size; n > 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		} else if n == 1 {
			return "1 " + unit.name
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
