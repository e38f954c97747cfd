package testkit

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLimit: a limit grows with the times of the reference, and is never less than on an idle machine.
func TestLimit(t *testing.T) {
	for _, c := range []struct {
		why         string
		rounds      []time.Duration
		quiet, want time.Duration
	}{
		{"a quiet machine", []time.Duration{10, 10, 10}, 1000, 1020},
		{"all rounds take twice as long", []time.Duration{20, 20, 20}, 1000, 2040},
		{"one stalls", []time.Duration{10, 10, 100}, 1000, 4200},
	} {
		w := &Watch{quiet: 10, rounds: c.rounds}
		for _, r := range c.rounds {
			w.sum += r
		}
		if got := w.Limit(c.quiet); got != c.want {
			t.Errorf("%s: %v may take %v, want %v", c.why, c.quiet, got, c.want)
		}
	}
}

// TestWatch: the reference runs by itself, and more work than the machine has processors for slows it down.
func TestWatch(t *testing.T) {
	w := StartWatch(t)
	rounds := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.rounds)
	}
	var end atomic.Bool
	var busy sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for !end.Load() {
			}
		})
	}
	defer func() { end.Store(true); busy.Wait() }()
	Eventually(t, Hang, "rounds of the reference", func() bool { return rounds() > calibrationRounds+20 })
	const quiet = time.Second
	Eventually(t, Hang, "a slower reference", func() bool { return w.Limit(quiet) > 2*quiet })
	if w.Part(0) < w.quiet || w.Part(0.5) > w.Part(1) {
		t.Errorf("the fastest round took %v, half of them up to %v, all up to %v; in the calibration the fastest "+
			"took %v",
			w.Part(0), w.Part(0.5), w.Part(1), w.quiet)
	}
}
