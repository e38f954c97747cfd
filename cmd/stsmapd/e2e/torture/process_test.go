package torture

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"
)

func processFaults() []fault {
	return []fault{
		// Each of the connections of a load meets the kill, and may try again before the load ends.
		{name: "kill -9 among writes", run: killAmongWrites, closed: 50 * rounds(100, 15)},
		{name: "kill -9 at rest", run: killAtRest},
		{name: "SIGSTOP, questions waiting", run: stopAndContinue, patience: stopped() + patience},
		{name: "nobody reads the log", run: stuckLog},
	}
}

// killAmongWrites kills the daemon while it learns and changes policies. What it knew is looked at in the next life,
// before the DNS and the policy hosts are there again.
func killAmongWrites(t *testing.T, r *rig) {
	const lifeMin, lifeMax = 50 * time.Millisecond, 300 * time.Millisecond
	spare := map[string]bool{}
	for range rounds(100, 15) {
		stop := r.load(t)
		wait(lifeMin + time.Duration(rand.Int64N(int64(lifeMax-lifeMin))))
		r.kill(t)
		end := time.Now()
		stop()
		r.injected++
		r.d.Start(t)
		known := r.oracle.Known()
		r.p.Dead.Store(true)
		r.ask(t, r.any(known))
		r.recovery = max(r.recovery, time.Since(end))
		look := []string{}
		for _, domain := range known {
			if !spare[domain] || rand.IntN(10) == 0 { // those that are new, and some of the others
				look = append(look, domain)
			}
			spare[domain] = true
		}
		r.remembers(t, look)
		r.quiet(t)
	}
	r.census(t)
}

// killAtRest kills the daemon while there are no questions.
func killAtRest(t *testing.T, r *rig) {
	for range rounds(20, 3) {
		r.learn(t, 5)
		r.kill(t)
		end := time.Now()
		r.injected++
		r.d.Start(t)
		r.recovers(t, end)
		r.remembers(t, r.oracle.Known())
		r.quiet(t)
	}
}

// quiet fails the test if the daemon has logged a fault of the store.
func (r *rig) quiet(t *testing.T) {
	t.Helper()
	for _, line := range r.d.Log.Lines("event=store_") {
		t.Errorf("a fault of the store: %s", line)
	}
}

// stopped is how long the daemon stands still.
func stopped() time.Duration { return time.Duration(rounds(60, 3)) * time.Second }

// stopAndContinue stops the daemon and has 50 more connections ask meanwhile. They wait, and are all answered.
func stopAndContinue(t *testing.T, r *rig) {
	stop := r.load(t)
	defer stop()
	known := r.oracle.Known()
	r.d.Signal(t, syscall.SIGSTOP)
	r.injected++
	var waiting sync.WaitGroup
	for range 50 {
		waiting.Go(func() { r.ask(t, r.any(known)) })
	}
	wait(stopped())
	r.d.Signal(t, syscall.SIGCONT)
	end := time.Now()
	waiting.Wait()
	r.recovers(t, end)
	stop()
	r.census(t)
}
