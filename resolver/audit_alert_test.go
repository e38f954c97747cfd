package resolver_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// TestFailingOverRestarts: refreshes fail for days, and the daemon is restarted every few hours. It still makes one
// line when that begins, one a day after that, and one when it is over.
func TestFailingOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		file := body("enforce", 14*day, "mx.example.test")
		w.publish("example.test", "1", file)
		s, stop := w.run()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.set(func() { clear(w.files) })
		begin := time.Now()
		for time.Since(begin) < 5*day {
			pass(5 * time.Hour)
			wantOutcome(t, "while refreshes fail", s, "example.test", resolver.Enforce)
			stop()
			s, stop = w.run()
		}
		// The first refresh is due after a day, give or take a tenth; so there are four days of failures.
		if n := w.events("refresh_failing"); n < 4 || n > 5 {
			t.Errorf("%d lines in four days of failing refreshes, want one a day:\n%s", n, w.log.String())
		}
		for _, text := range []string{
			"policy for example.test expires in 12 days", "expires in 11 days", "expires in 10 days"} {
			if !strings.Contains(w.log.String(), text) {
				t.Errorf("no line says %q", text)
			}
		}
		w.publish("example.test", "1", file)
		pass(2 * time.Hour)
		stop()
		if n := w.events("refresh_recovered"); n != 1 {
			t.Errorf("%d lines of recovery, want 1", n)
		}
		first := begin.Add(21*time.Hour + 36*minute)
		for line := range strings.Lines(w.log.String()) {
			_, since, ok := strings.Cut(line, "failing_since=")
			if !ok {
				continue
			}
			since, _, _ = strings.Cut(strings.TrimSpace(since), " ")
			if at, err := time.Parse(time.RFC3339, since); err != nil || at.Before(first) ||
				at.After(first.Add(5*time.Hour)) {
				t.Errorf("failing since %s, want the first failure, of the first day: %s", since, line)
			}
		}
	})
}

// TestNoneFailsSilently: nobody's mail depends on a policy of mode none (RFC 8461 section 10.2).
func TestNoneFailsSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("none", 14*day))
		s, stop := w.run()
		defer stop()
		wantOutcome(t, "learnt", s, "example.test", resolver.None)
		w.set(func() { clear(w.files) })
		pass(5 * day)
		wantOutcome(t, "while refreshes fail", s, "example.test", resolver.None)
		if _, gets := w.counts(); gets < 50 {
			t.Fatalf("%d GETs in five days, so the test says nothing", gets)
		}
		if text := w.log.String(); strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
			t.Errorf("failing refreshes of mode none made a line:\n%s", text)
		}
	})
}

// TestNewIDTakenBack: a publisher announces a broken file, sees it, and goes back. One line tells of the failure, one
// of the end.
func TestNewIDTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		good := body("enforce", 14*day, "mx.example.test")
		w.publish("example.test", "1", good)
		s, stop := w.run()
		defer stop()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.publish("example.test", "2", "broken")
		for range 6 {
			pass(10 * minute)
			wantOutcome(t, "a broken file", s, "example.test", resolver.Enforce)
		}
		w.publish("example.test", "1", good)
		for range 48 {
			pass(time.Hour)
			wantOutcome(t, "taken back", s, "example.test", resolver.Enforce)
		}
		if failing, recovered := w.events("refresh_failing"),
			w.events("refresh_recovered"); failing != 1 || recovered != 1 {
			t.Errorf("%d lines of failure and %d of recovery, want one of each:\n%s", failing, recovered,
				w.log.String())
		}
	})
}
