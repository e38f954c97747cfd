package history

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func at(minutes int) time.Time {
	return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func sum(slots []Counts, name string) (n uint64) {
	for _, c := range slots {
		n += c[name]
	}
	return n
}

// TestCounts: what counters count between two samples is in the slot of the second one, and drops out at the period's
// end.
func TestCounts(t *testing.T) {
	r := New()
	r.Sample(at(0), Counts{"a": 5})
	r.Sample(at(1), Counts{"a": 7, "b": 1})
	r.Sample(at(60), Counts{"a": 10, "b": 1})
	day := r.Slots(at(60), Day())
	if len(day) != 288 || day[287]["a"] != 3 || day[287-12]["a"] != 7 || sum(day, "a") != 10 || sum(day, "b") != 1 {
		t.Errorf("the day: %v", day)
	}
	for _, c := range []struct {
		why   string
		since time.Duration
		want  uint64
	}{{"10 minutes", 10 * time.Minute, 3}, {"an hour", time.Hour, 10}} {
		if got := r.Since(at(61), c.since)["a"]; got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
	r.Sample(at(25*60+2), Counts{"a": 11, "b": 1})
	if got := sum(r.Slots(at(25*60+2), Day()), "a"); got != 1 {
		t.Errorf("a day later: %d", got)
	}
	if got := sum(r.Slots(at(25*60+2), Fortnight()), "a"); got != 11 {
		t.Errorf("the fortnight: %d", got)
	}
	r.Sample(at(20*24*60), Counts{"a": 11, "b": 1})
	if len(r.kept.Day) != 0 || len(r.kept.Fortnight) != 0 {
		t.Errorf("after 20 days there are %v, %v", r.kept.Day, r.kept.Fortnight)
	}
}

// TestClockSetBack: what a clock that ran ahead has counted is forgotten, and no slot is made up.
func TestClockSetBack(t *testing.T) {
	r := New()
	r.Sample(at(10*24*60), Counts{"a": 5})
	r.Sample(at(0), Counts{"a": 6})
	if got := sum(r.Slots(at(0), Fortnight()), "a"); got != 1 || len(r.kept.Fortnight) != 1 {
		t.Errorf("%d in %v", got, r.kept.Fortnight)
	}
}

// TestEventsFromLog: lines with an event are remembered whatever the level of the log, with what they say.
func TestEventsFromLog(t *testing.T) {
	var out bytes.Buffer
	r := New()
	log := slog.New(r.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	log.Info("policy learnt", "event", "policy_learnt", "domain", "a.test", "mode", "enforce")
	log.Warn("cannot fetch", "event", "fetch_failed", "domain", "b.test", "error", errors.New("no"))
	log.Debug("lookup failed", "event", "lookup_failed", "domain", "c.test")
	log.Info("without an event")
	log.Error("store", "event", "store_write_failed", "error", strings.Repeat("ü", maxText))
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("the log has %q", &out)
	}
	all := r.Events("")
	if len(all) != 3 || all[0].Kind != "store_write_failed" || len(all[0].Text) > maxText+3 || !all[0].Trouble() ||
		all[1].Text != "cannot fetch: no" || all[1].Domain != "b.test" || !all[1].Trouble() ||
		all[2].Text != "policy learnt: mode enforce" || all[2].Trouble() || all[2].At.IsZero() {
		t.Errorf("%+v", all)
	}
	if of := r.Events("b.test"); len(of) != 1 || of[0].Kind != "fetch_failed" {
		t.Errorf("of one domain: %+v", of)
	}
}

// TestEventsAreBounded: a flood of one kind leaves the others.
func TestEventsAreBounded(t *testing.T) {
	r := New()
	r.Add(Event{Kind: "fetch_failed", Domain: "first.test"})
	for i := range 3 * MaxEvents {
		r.Add(Event{Kind: "policy_learnt", Domain: fmt.Sprintf("d%d.test", i)})
	}
	all := r.Events("")
	if len(all) != MaxEvents || all[0].Domain != fmt.Sprintf("d%d.test", 3*MaxEvents-1) ||
		all[MaxEvents-1].Domain != "first.test" || len(r.Events("d0.test")) != 0 {
		t.Errorf("%d events, the newest %+v, the oldest %+v", len(all), all[0], all[len(all)-1])
	}
}

// TestRestart: what was saved is there again, beside what came before the file was opened.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.json")
	r := New()
	if err := r.Open(path, at(0)); err != nil {
		t.Fatal(err)
	}
	r.Sample(at(0), Counts{"a": 5})
	r.Add(Event{At: at(0), Kind: "policy_learnt", Domain: "a.test"})
	r.Add(Event{At: at(60 * 24), Kind: "of_the_future"})
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	again := New()
	again.Add(Event{At: at(1), Kind: "ready"})
	if err := again.Open(path, at(1)); err != nil {
		t.Fatal(err)
	}
	again.Sample(at(2), Counts{"a": 2})
	if all := again.Events(""); len(all) != 2 || all[0].Kind != "ready" || all[1].Domain != "a.test" {
		t.Errorf("events: %+v", all)
	}
	if got := sum(again.Slots(at(2), Day()), "a"); got != 7 {
		t.Errorf("counted %d", got)
	}
}

// TestBadFiles: what cannot be read stops nothing, and is replaced; what cannot be written is kept for the next time.
func TestBadFiles(t *testing.T) {
	for why, text := range map[string]string{"empty": "", "cut": `{"version":1,"events":[{"at":"2026`,
		"another": `{"version":2}`, "no object": `[1]`, "a wrong type": `{"version":1,"day":{"x":{"a":1}}}`} {
		path := filepath.Join(t.TempDir(), "history.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := New()
		if err := r.Open(path, at(0)); err == nil || !strings.Contains(err.Error(), "history") {
			t.Errorf("%s: %v", why, err)
		}
		r.Add(Event{At: at(0), Kind: "ready"})
		if err := r.Save(); err != nil {
			t.Errorf("%s: %v", why, err)
		}
		if again := New(); again.Open(path, at(0)) != nil || len(again.Events("")) != 1 {
			t.Errorf("%s: not replaced", why)
		}
	}
	r := New()
	dir := filepath.Join(t.TempDir(), "later")
	if err := r.Open(filepath.Join(dir, "history.json"), at(0)); err != nil {
		t.Fatal(err)
	}
	r.Add(Event{At: at(0), Kind: "ready"})
	if err := r.Save(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Save(); err != nil {
		t.Errorf("saved again: %v", err)
	}
}

// FuzzOpen: no file does harm.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"version":1,"day":{"5901984":{"a":1}},"fortnight":{},"events":[{"event":"x"}]}`))
	f.Add([]byte(`{"version":1,"day":{"5":null},"events":null}`))
	path := filepath.Join(f.TempDir(), "history.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r := New()
		_ = r.Open(path, at(0)) // what matters is what follows
		r.Sample(at(0), Counts{"a": 1})
		r.Add(Event{Kind: "ready"})
		if len(r.Events("")) == 0 || len(r.Events("")) > MaxEvents || len(r.kept.Day) > 288 {
			t.Errorf("%d events, %d slots", len(r.Events("")), len(r.kept.Day))
		}
	})
}
