package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/torture"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// The domains, by number.
const (
	steady    = 1500 // their policies never change
	changing  = 300  // they get a new policy, one each second
	flapping  = 100  // they go to mode none and back
	inTesting = 100  // their policies are of mode testing
	briefly   = 100  // their policies have a short max_age
	lasting   = steady + changing + flapping + inTesting
)

const (
	connections = 8
	batch       = 10 // questions that a connection asks at once
)

// soak is a run.
type soak struct {
	plan   plan
	p      *world.Publishers
	target *torture.Target
	oracle *torture.Oracle
	begin  time.Time

	changed, fresh, forgotten, outages, unknowns atomic.Int64
	// batch of remembered policies since the last sample, in ns
	slowest atomic.Int64

	mu    sync.Mutex
	young []newcomer

	samples []sample
}

// newcomer is a domain that was new not long ago.
type newcomer struct {
	domain string
	since  time.Time
}

func newSoak(t *testing.T, w *world.World, plan plan) *soak {
	t.Helper()
	p := w.Publishers(t)
	p.TTL.Store(60)
	// What has no policy must reach its bound in the warm-up, for the memory to be flat after it.
	s := &soak{plan: plan, p: p, oracle: torture.NewOracle(p),
		target: torture.NewTarget(t, w, p, "", "[cache]\nmax_negative = 20000\n")}
	s.target.Start(t)
	return s
}

// learn asks for all lasting domains, so that the daemon learns them.
func (s *soak) learn(t *testing.T) {
	t.Helper()
	for i := range lasting + briefly {
		pub := world.Publication{ID: 1, Policy: 1}
		switch {
		case i >= lasting:
			pub.MaxAge = s.plan.brief
		case i >= steady+changing+flapping:
			pub.Mode = "testing"
		}
		s.p.Publish(s.p.Domain(i), pub)
	}
	var all sync.WaitGroup
	for c := range connections {
		all.Go(func() {
			a := torture.NewAsker(s.oracle, s.target.Address)
			defer a.Close()
			for i := c; i < lasting+briefly; i += connections {
				if _, err := a.Ask(s.p.Domain(i)); err != nil {
					t.Errorf("learning %s: %v", s.p.Domain(i), err)
					return
				}
			}
		})
	}
	all.Wait()
	if known := len(s.oracle.Known()); known != steady+changing+flapping+briefly {
		t.Fatalf("%d policies learnt, want %d; log:\n%s", known, steady+changing+flapping+briefly, s.target.Log)
	}
}

// run asks, changes and samples until ctx ends.
func (s *soak) run(ctx context.Context, t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	perConn := s.plan.rate * 9 / 10 / connections
	for range connections {
		all.Go(func() { s.ask(ctx, t, perConn, batch, s.remembered) })
		all.Go(func() { s.ask(ctx, t, s.plan.rate/10/connections, 1, s.slow) })
	}
	all.Go(func() { repeat(ctx, time.Second/2, s.change) })
	all.Go(func() { repeat(ctx, min(2*time.Second, s.plan.young/2), s.welcome) })
	all.Go(func() { repeat(ctx, s.plan.young/5, func() { s.forget(t) }) })
	all.Go(func() { repeat(ctx, s.plan.outages, func() { s.breakDown(ctx) }) })
	fmt.Print(sampleHeader)
	repeat(ctx, s.plan.sample, func() { s.sample(t) })
	all.Wait()
	s.p.Dead.Store(false)
}

// repeat calls f at this interval until ctx ends.
func repeat(ctx context.Context, every time.Duration, f func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// ask asks for so many domains a second over one connection, some at a time. What is late is made up for.
func (s *soak) ask(ctx context.Context, t *testing.T, rate, atOnce int, which func(*rand.Rand) string) {
	a := torture.NewAsker(s.oracle, s.target.Address)
	defer a.Close()
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	domains := make([]string, atOnce)
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		for i := range domains {
			domains[i] = which(random)
		}
		begin := time.Now()
		if _, err := a.Ask(domains...); err != nil {
			t.Errorf("asking for %v: %v", domains, err)
			return
		}
		if atOnce > 1 {
			s.note(time.Since(begin))
		}
		due = due.Add(time.Duration(atOnce) * time.Second / time.Duration(rate))
		timer.Reset(time.Until(due))
	}
}

// note keeps the longest time that a batch of remembered policies took.
func (s *soak) note(took time.Duration) {
	for was := s.slowest.Load(); int64(took) > was; was = s.slowest.Load() {
		if s.slowest.CompareAndSwap(was, int64(took)) {
			return
		}
	}
}

// remembered is a domain whose policy lasts.
func (s *soak) remembered(random *rand.Rand) string { return s.p.Domain(random.IntN(lasting)) }

// slow is a domain for whose answer the daemon may have to look: mostly one that nobody has asked for before and that
// has no policy, else one whose policy is often over, or a newcomer.
func (s *soak) slow(random *rand.Rand) string {
	switch n := random.IntN(10); {
	case n < 5:
		return fmt.Sprintf("unknown%d.%s", s.unknowns.Add(1), s.p.Zone)
	case n < 8:
		return s.p.Domain(lasting + random.IntN(briefly))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) == 0 {
		return s.p.Domain(random.IntN(lasting))
	}
	return s.young[random.IntN(len(s.young))].domain
}

// change gives one domain a new policy, or takes one to mode none or back.
func (s *soak) change() {
	i := steady + rand.IntN(changing+flapping)
	domain := s.p.Domain(i)
	was, _ := s.p.Of(domain)
	next := world.Publication{ID: was.ID + 1, Policy: was.Policy + 1}
	if i >= steady+changing && was.Mode == "" {
		next.Mode = "none"
	}
	s.p.Publish(domain, next)
	s.changed.Add(1)
}

// welcome makes a new domain.
func (s *soak) welcome() {
	domain := s.p.Domain(lasting + briefly + int(s.fresh.Add(1)))
	s.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.young = append(s.young, newcomer{domain, time.Now()})
}

// forget makes the daemon forget domains that are no longer new, after the last question for them.
func (s *soak) forget(t *testing.T) {
	s.mu.Lock()
	n := 0
	for n < len(s.young) && time.Since(s.young[n].since) > s.plan.young {
		n++
	}
	old := s.young[:n]
	s.young = s.young[n:]
	s.mu.Unlock()
	if n == 0 {
		return
	}
	domains := make([]string, n)
	for i, o := range old {
		domains[i] = o.domain
	}
	s.target.Forget(t, domains...)
	s.forgotten.Add(int64(n))
}

// breakDown makes an outage of DNS and policy hosts.
func (s *soak) breakDown(ctx context.Context) {
	s.p.Dead.Store(true)
	timer := time.NewTimer(s.plan.outage)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	s.p.Dead.Store(false)
	s.outages.Add(1)
}
