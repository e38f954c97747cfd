package model_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/model"
)

// eventsPerWorld is how long a generated script is.
const eventsPerWorld = 200

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// play plays a script in a bubble of its own.
func play(t *testing.T, s model.Script, sabotage func(model.Parts) model.Parts) (r model.Result) {
	t.Helper()
	o := model.Options{Sabotage: sabotage}
	if s.Bolt {
		o.Dir = t.TempDir()
	}
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = model.Run(s, o); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// shrunk is the shortest script that violates the same rule.
func shrunk(t *testing.T, s model.Script, r model.Result, sabotage func(model.Parts) model.Parts) (model.Script,
	model.Result) {
	rule := ruleOf(r)
	s.Events = s.Events[:min(r.At+1, len(s.Events))]
	s = model.Shrink(s, 2000, func(s model.Script) bool { return ruleOf(play(t, s, sabotage)) == rule })
	return s, play(t, s, sabotage)
}

func ruleOf(r model.Result) string {
	if v := (*model.Violation)(nil); errors.As(r.Violation, &v) {
		return v.Rule
	}
	return ""
}

// scripts are those of a seed: one of a host that is alone, and with each fourth seed one of a host in a fleet.
func scripts(seed uint64) []model.Script {
	of := []model.Script{model.Generate(seed, eventsPerWorld)}
	if seed%4 == 0 {
		of = append(of, model.GenerateFleet(seed, eventsPerWorld))
	}
	return of
}

// TestModel plays random scripts to the service. STSMAPD_MODEL_EVENTS says how many events of hosts that are alone,
// about, and STSMAPD_MODEL_SEED where to begin. A failing script is shrunk and printed: put it in testdata/model, and
// mend the fault.
func TestModel(t *testing.T) {
	worlds := setting(t, "STSMAPD_MODEL_EVENTS", 16_000) / eventsPerWorld
	seeds := worlds
	first := uint64(setting(t, "STSMAPD_MODEL_SEED", 1))
	const workers = 2
	var next, played, events, questions atomic.Int64
	begin := time.Now()
	t.Run("workers", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1) - 1; n < int64(seeds) && !t.Failed(); n = next.Add(1) - 1 {
					seed := first + uint64(n)
					for _, s := range scripts(seed) {
						r := play(t, s, nil)
						played.Add(1)
						events.Add(int64(r.At))
						questions.Add(int64(r.Questions))
						if r.Violation != nil {
							short, again := shrunk(t, s, r, nil)
							t.Errorf("seed %d: %v\nthe script, shortened:\n%s%v", seed, r.Violation, short,
								again.Violation)
						}
					}
				}
			})
		}
	})
	t.Logf("%d events in %d worlds, %d questions answered, in %v", events.Load(), played.Load(), questions.Load(),
		time.Since(begin).Round(time.Millisecond))
}

// TestModelScripts replays what once failed, or is worth its place for another reason that the script's first line
// tells.
func TestModelScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/model/*.script")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := model.ParseScript(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if r := play(t, s, nil); r.Violation != nil {
				t.Errorf("event %d: %v", r.At, r.Violation)
			}
		})
	}
}
