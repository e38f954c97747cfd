package torture

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// rig is a daemon under a fault, with publishers of its own.
type rig struct {
	fault  fault
	watch  *testkit.Watch
	w      *world.World
	p      *world.Publishers
	oracle *Oracle
	d      *Target

	next     atomic.Int64 // number of the next new domain
	injected int
	resident int64 // the most memory that was seen, in bytes
	recovery time.Duration
	note     string
	damaged  []byte // the store's file, when it was damaged last

	mu    sync.Mutex
	times times // of the answers for remembered policies
}

// begun is how many policies the daemon knows when the fault comes.
const begun = 200

// newRig starts a daemon that learns some policies.
func newRig(t *testing.T, w *world.World, f fault) *rig {
	t.Helper()
	p := w.Publishers(t)
	r := &rig{fault: f, watch: testkit.StartWatch(t), w: w, p: p, oracle: NewOracle(p),
		d: NewTarget(t, w, p, stateDir(t), f.more)}
	r.d.Start(t)
	r.learn(t, begun)
	return r
}

// stateDir is the directory of a store, on a file system of its own that a test may fill or mount again.
func stateDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(world.SmallDisk(t, roomy), "state")
}

// roomy is the size of a disk that does not become full.
const roomy = "64m"

// close judges the fault as a whole.
func (r *rig) close(t *testing.T) {
	t.Helper()
	tally := r.oracle.Tally()
	for _, what := range tally.Faults {
		t.Errorf("%s", what)
	}
	if tally.Wrong+tally.Lost > 0 {
		t.Errorf("%d wrong answers, %d policies lost", tally.Wrong, tally.Lost)
	}
	if tally.Closed > r.fault.closed {
		t.Errorf("%d questions got no answer, at most %d may", tally.Closed, r.fault.closed)
	}
	limit := r.fault.patience
	if limit == 0 {
		limit = patience
	}
	if slowest, limit := r.times.part(1), r.watch.Limit(limit); slowest > limit {
		t.Errorf("the answer for a remembered policy took %v, may take %v", slowest, limit)
	}
	if r.injected == 0 {
		t.Error("the fault was not injected")
	}
}

func (r *rig) row(took time.Duration) row {
	return row{r.fault.name, r.injected, r.oracle.Tally(), r.recovery, r.times, took, r.note}
}

// fresh returns a new domain that publishes a policy.
func (r *rig) fresh() string {
	domain := r.p.Domain(int(r.next.Add(1) - 1))
	r.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
	return domain
}

// learn asks for new domains, all at once, so that the daemon learns them.
func (r *rig) learn(t *testing.T, n int) {
	t.Helper()
	domains := make([]string, n)
	for i := range domains {
		domains[i] = r.fresh()
	}
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	before := len(r.oracle.Known())
	if _, err := a.Ask(domains...); err != nil {
		t.Fatalf("learning %d domains: %v; log:\n%s", n, err, r.d.Log)
	}
	if got := len(r.oracle.Known()) - before; got != n {
		t.Fatalf("%d of %d new policies were learnt; log:\n%s", got, n, r.d.Log)
	}
}

// any returns a domain of which a policy was answered.
func (r *rig) any(known []string) string { return known[rand.IntN(len(known))] }

// load asks continuously: for policies that are remembered, for new domains, and for some that get a new policy. When
// it returns, its connections are there and have had answers; it ends with the function that is returned.
func (r *rig) load(t *testing.T) (stop func()) {
	t.Helper()
	known := r.oracle.Known()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { r.repeat(ctx, 2*time.Millisecond, func() string { return r.any(known) }, r.timed) })
	}
	all.Go(func() { r.repeat(ctx, 20*time.Millisecond, r.fresh, r.untimed) })
	all.Go(func() { r.repeat(ctx, 10*time.Millisecond, func() string { return r.change(known) }, r.timed) })
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(stop) // also of a test that fails
	begin := r.oracle.Tally().Policies
	world.Eventually(t, recoveryLimit, "answers under load",
		func() bool { return r.oracle.Tally().Policies > begin+50 })
	return stop
}

// change gives a known domain a new policy.
func (r *rig) change(known []string) string {
	domain := r.any(known)
	was, _ := r.p.Of(domain)
	r.p.Publish(domain, world.Publication{ID: was.ID + 1, Policy: was.Policy + 1})
	return domain
}

// repeat asks one question after the other over one connection, at this interval.
func (r *rig) repeat(ctx context.Context, every time.Duration, which func() string, note func(time.Duration)) {
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		begin := time.Now()
		if _, err := a.Ask(which()); err == nil {
			note(time.Since(begin))
		}
	}
}

// timed notes how long the answer for a remembered policy took.
func (r *rig) timed(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = append(r.times, took)
}

func (r *rig) untimed(time.Duration) {}

// ask asks once, over a connection of its own, for a policy that is remembered.
func (r *rig) ask(t *testing.T, domain string) {
	t.Helper()
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	begin := time.Now()
	if _, err := a.Ask(domain); err != nil {
		t.Errorf("asking for %s: %v", domain, err)
	}
	r.timed(time.Since(begin))
}

// wait waits for this long.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// recoveryLimit is for what a daemon does by itself: learn new policies again when a fault is over, above all. The
// table says when.
const recoveryLimit = world.Hang

// recovers waits until the daemon learns a new policy, and notes how long that took since the end of the fault.
func (r *rig) recovers(t *testing.T, end time.Time) {
	t.Helper()
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	world.Eventually(t, recoveryLimit, "a new policy after the fault", func() bool {
		domain := r.fresh()
		answer, err := a.Ask(domain)
		return err == nil && world.PolicyOf(domain, answer) == 1
	})
	r.recovery = max(r.recovery, time.Since(end))
}

// logged waits for a line of the log.
func (r *rig) logged(t *testing.T, event string, times int) {
	t.Helper()
	world.Eventually(t, recoveryLimit, "event="+event,
		func() bool { return len(r.d.Log.Lines("event="+event)) >= times })
}

// restart kills the daemon and starts it again.
func (r *rig) restart(t *testing.T) {
	t.Helper()
	r.kill(t)
	r.d.Start(t)
}

func (r *rig) kill(t *testing.T) {
	t.Helper()
	r.d.Signal(t, syscall.SIGKILL)
	r.d.Wait(t)
}

// remembers asks, with the DNS and the policy hosts dead, for these domains: what the daemon has forgotten is lost.
func (r *rig) remembers(t *testing.T, domains []string) {
	t.Helper()
	r.p.Dead.Store(true)
	defer r.p.Dead.Store(false)
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	const atOnce = 500
	for len(domains) > 0 {
		n := min(atOnce, len(domains))
		if _, err := a.Ask(domains[:n]...); err != nil {
			t.Fatalf("asking what is remembered: %v; log:\n%s", err, r.d.Log)
		}
		domains = domains[n:]
	}
}

// census kills the daemon, starts it again, and asks for every policy that was answered.
func (r *rig) census(t *testing.T) {
	t.Helper()
	r.restart(t)
	r.remembers(t, r.oracle.Known())
}
