package resolver

import (
	"container/heap"
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// removalsAtOnce lets removals share the store's commits, and be few enough to hold up no question's write.
	removalsAtOnce = 16
	// maxSurplus bounds how many policies over the limit go in one scan.
	maxSurplus = 20_000
)

// scanLoop walks over the store at once, then every scanInterval, and sooner when many policies have been learnt.
func (s *Service) scanLoop(ctx context.Context) {
	ticker := time.NewTicker(scanInterval)
	defer ticker.Stop()
	for {
		now := s.now()
		s.scan(ctx, now, s.clock.steady(now))
		select {
		case <-ticker.C:
		case <-s.crowded:
		case <-ctx.Done():
			return
		}
	}
}

// scan puts on the agenda what is due before the next scan, and removes what has expired at now and what is over the
// limit; nothing is removed while the clock, which said now, is not to be believed.
func (s *Service) scan(ctx context.Context, now time.Time, steady bool) {
	cfg := s.config.Load()
	s.learnt.Store(0)
	s.queue.extend(now.Add(scanInterval + scanInterval/4))
	expired := func(e Entry) bool { return !e.Live(now) }
	removals, rctx := errgroup.WithContext(ctx)
	removals.SetLimit(removalsAtOnce)
	count := 0
	waiting := s.pending.snapshot() // for the disk: the store's entries of these are out of date
	for e, err := range s.store.All(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			s.log.Warn("cannot read an entry of the policy store; its domain is looked up again when it is asked for",
				"event", "store_read_failed", "domain", e.Domain, "error", err)
			continue
		}
		if waiting[e.Domain] != nil {
			count++
			continue
		}
		if steady && expired(e) {
			removals.Go(func() error { _ = s.remove(rctx, e.Domain, expired); return nil })
			continue
		}
		count++
		e.Failures = e.Failures.at(now)
		if at, ok := refreshAt(cfg, e, s.lastUsed(e)); ok {
			s.queue.add(e.Domain, s.stagger(e.Domain, at))
		}
	}
	for _, h := range waiting {
		s.schedule(h)
	}
	_ = removals.Wait() // what fails is tried again by the next scan
	if surplus := count - cfg.MaxPolicies; surplus > 0 && steady && ctx.Err() == nil {
		s.evict(ctx, min(surplus, maxSurplus), cfg.MaxPolicies)
	}
}

// lastUsed is the later of what the store and memory know.
func (s *Service) lastUsed(e Entry) time.Time {
	if h, ok := s.memory.Policy(e.Domain); ok && h.Used().After(e.Used) {
		return h.Used()
	}
	return e.Used
}

// remove deletes a domain's policy from store and memory, if which accepts it as it is now: a fetch may have come
// between, or have brought what still waits for the disk. The errors are the store's.
func (s *Service) remove(ctx context.Context, domain dnsname.Name, which func(Entry) bool) (err error) {
	s.alone(domain, func() {
		held, inMemory := s.memory.Policy(domain)
		if inMemory && !which(held.Entry) {
			return
		}
		if h := s.pending.unsaved(domain); h != nil && !which(h.Entry) {
			return
		}
		e, getErr := s.store.Get(ctx, domain)
		if getErr != nil || !which(e) {
			return
		}
		if err = s.pending.delete(ctx, domain); err == nil {
			s.forgetPolicy(domain)
		}
	})
	return err
}

// forgetPolicy ends what is known of a policy outside the store.
func (s *Service) forgetPolicy(domain dnsname.Name) {
	s.memory.ForgetPolicy(domain)
	s.queue.drop(domain)
}

// thin removes the n policies that were asked for the longest time ago.
func (s *Service) evict(ctx context.Context, n, limit int) {
	idlest := &idleQueue{}
	for e, err := range s.store.All(ctx) {
		if err != nil {
			continue
		}
		heap.Push(idlest, idlePolicy{e.Domain, s.lastUsed(e)})
		if idlest.Len() > n {
			heap.Pop(idlest)
		}
	}
	if ctx.Err() != nil {
		return
	}
	s.log.Warn("the policy store is full: the policies that were asked for the longest time ago are removed; "+
		"raise cache.max_policies if that is not wanted", "event", "store_full", "max_policies", limit, "removed",
		idlest.Len())
	for _, item := range *idlest {
		idle := func(e Entry) bool { return !s.lastUsed(e).After(item.used) }
		if s.remove(ctx, item.domain, idle) != nil {
			return // the next scan tries again
		}
	}
}

// noteLearnt counts a new policy, and calls for a scan when so many are new that the store may be over its limit.
func (s *Service) noteLearnt() {
	if s.learnt.Add(1) == int64(max(s.config.Load().MaxPolicies/100, 1000)) {
		select {
		case s.crowded <- struct{}{}:
		default:
		}
	}
}

type idlePolicy struct {
	domain dnsname.Name
	used   time.Time
}

// idleQueue is a heap of idlePolicy, the last used first: so that this one goes when there are enough.
type idleQueue []idlePolicy

func (q idleQueue) Len() int           { return len(q) }
func (q idleQueue) Less(i, j int) bool { return q[i].used.After(q[j].used) }
func (q idleQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *idleQueue) Push(x any) { *q = append(*q, x.(idlePolicy)) }

// Pop implements heap.Interface.
func (q *idleQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

// clockWatch compares the wall clock with the monotonic one: an administrator, or a time server's first answer, may
// have set it. What has expired by a clock that jumped may live by the right one.
type clockWatch struct {
	wall, steadySince time.Time
	mono              time.Time // with its monotonic reading
}

const (
	clockSlack = 10 * time.Minute // a jump is more than this
	// clockTrust is how long the clock must have run steadily after a jump before it may end anything.
	clockTrust = 24 * time.Hour
	// startTrust is the same after the daemon's start: the host may just have booted, with its clock still to be set.
	startTrust = 2 * time.Hour
)

func newClockWatch(wall time.Time) *clockWatch {
	now := time.Now()
	return &clockWatch{wall: wall, mono: now, steadySince: now.Add(startTrust - clockTrust)}
}

// steady reports whether the wall clock may be believed.
func (c *clockWatch) steady(wall time.Time) bool {
	now := time.Now()
	if drift := wall.Sub(c.wall) - now.Sub(c.mono); drift.Abs() > clockSlack {
		c.steadySince = now
	}
	c.wall, c.mono = wall, now
	return now.Sub(c.steadySince) >= clockTrust
}
