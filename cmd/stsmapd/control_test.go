package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

func TestControlPaths(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "stsmapd", controlName)
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const system = "/run/stsmapd/control.sock"
	for _, c := range []struct {
		why          string
		env          map[string]string
		uid          int
		serves, asks string
	}{
		{"under systemd", map[string]string{"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": dir}, 0, "/run/a",
			"/run/a/control.sock"},
		{"under systemd, as another user", map[string]string{"RUNTIME_DIRECTORY": "/run/a"}, 7, "/run/a",
			"/run/a/control.sock"},
		{"root", map[string]string{"XDG_RUNTIME_DIR": dir}, 0, "/run/stsmapd", system},
		{"a user with a daemon of his own", map[string]string{"XDG_RUNTIME_DIR": dir}, 7, dir + "/stsmapd", own},
		{"a user without", map[string]string{"XDG_RUNTIME_DIR": dir + "/none"}, 7, dir + "/none/stsmapd", system},
		{"a user without a session", nil, 7, "", system},
	} {
		env := func(name string) string { return c.env[name] }
		if got := runtimeDir(env, c.uid); got != c.serves {
			t.Errorf("%s: serves in %q, want %q", c.why, got, c.serves)
		}
		if got := findControl(env, c.uid); got != c.asks {
			t.Errorf("%s: asks at %q, want %q", c.why, got, c.asks)
		}
	}
}

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
	for text, want := range map[string]time.Duration{"7d": 7 * day, "36h": 36 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "0d", "-1d", "-5m", "0s", "7", "1.5d", "99999999999d", "soon"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
