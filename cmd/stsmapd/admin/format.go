package admin

import (
	"fmt"
	"time"
)

// when writes a time for people, in UTC.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// relative says how far a time is from now: "in 6 days", "3 hours ago"; "" for the zero time.
func relative(now, t time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return ""
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return lifetime(-d) + " ago"
	default:
		return "in " + lifetime(d)
	}
}

// lifetime writes a duration in its greatest unit, rounded down.
func lifetime(d time.Duration) string {
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
