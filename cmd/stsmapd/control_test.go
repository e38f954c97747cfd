package main

import (
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

func TestSpans(t *testing.T) {
	now := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		away time.Duration
		want string
	}{
		{0, "0s ago"}, {time.Second, "in 1s"}, {-59 * time.Second, "59s ago"}, {90 * time.Second, "in 1m"},
		{-time.Hour, "1h ago"},
		{time.Hour + 59*time.Minute, "in 1h 59m"}, {day - time.Second, "in 23h 59m"}, {day, "in 1d"},
		{9*day + 5*time.Hour, "in 9d 5h"},
		{-10*day - 23*time.Hour, "10d ago"}, {365 * day, "in 365d"},
	} {
		if got := term.Relative(now, now.Add(c.away)); got != c.want {
			t.Errorf("%v away: %q, want %q", c.away, got, c.want)
		}
	}
	if term.Relative(now, time.Time{}) != "never" || term.Absolute(now, time.Time{}) != "never" {
		t.Error("no time at all must be never")
	}
	if got := term.Absolute(now, now.Add(day)); got != "2026-11-24 16:00:00 UTC (in 1d)" {
		t.Error(got)
	}
}
