package term

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Span formats a duration in its one or two largest units: "2d 3h", "5m".
func Span(d time.Duration) string {
	days, hours, minutes := d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60
	switch {
	case days >= 10 || days > 0 && hours == 0:
		return fmt.Sprintf("%dd", days)
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, hours)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%dh", hours)
	case minutes > 0:
		return fmt.Sprintf("%dm", minutes)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// ParseSpan parses a time as people write it: Go's durations, and whole days such as "7d", 36500 at most. It must be
// positive. The error gives examples.
func ParseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 32); n > 36500 {
			err = strconv.ErrRange
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, errors.New("want a time such as 90m, 12h or 7d")
	}
	return d, nil
}

// Relative formats a time relative to now: "in 2d 3h", "5m ago"; "never" for the zero time.
func Relative(now, t time.Time) string {
	switch left := t.Sub(now); {
	case t.IsZero():
		return "never"
	case left > 0:
		return "in " + Span(left)
	default:
		return Span(-left) + " ago"
	}
}

// Absolute formats a time in full and relative to now; "never" for the zero time.
func Absolute(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " (" + Relative(now, t) + ")"
}
