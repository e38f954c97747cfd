package resolver

import (
	"container/heap"
	"context"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// removalsAtOnce lets removals share the store's commits, and be few enough to hold up no question's write.
	removalsAtOnce = 16
	// maxSurplus bounds how many policies over the limit are evicted in one scan.
	maxSurplus = 20_000
)

// evictor removes policies from store and memory: what has expired, and what is over the store's bound.
type evictor struct {
	*base
	clock *clockWatch // of the scans alone
}

// removeExpired removes a policy that had expired at now.
func (e *evictor) removeExpired(ctx context.Context, domain dnsname.Name, now time.Time) {
	_ = e.remove(ctx, domain, func(old Entry) bool { return !old.Live(now) }) // the next scan tries again
}

// remove deletes a domain's policy from store and memory, if which accepts it as it is now: a fetch may have come
// between, or have brought what still waits for the disk. The errors are the store's, and those of Exclusive.
func (e *evictor) remove(ctx context.Context, domain dnsname.Name, which func(Entry) bool) error {
	var failed error
	err := e.lookups.Exclusive(ctx, domain, func() {
		if h, ok := e.memory.Policy(domain); ok && !which(h.Entry) {
			return
		}
		if h := e.pending.unsaved(domain); h != nil && !which(h.Entry) {
			return
		}
		stored, err := e.store.Get(ctx, domain)
		if err != nil || !which(stored) {
			return
		}
		if failed = e.pending.delete(ctx, domain); failed == nil {
			e.forgetPolicy(domain)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// evict removes the n policies that were asked for the longest time ago.
func (e *evictor) evict(ctx context.Context, n, limit int) {
	idlest := &idleQueue{}
	for entry, err := range e.store.All(ctx) {
		if err != nil {
			continue
		}
		heap.Push(idlest, idlePolicy{entry.Domain, e.lastUsed(entry)})
		if idlest.Len() > n {
			heap.Pop(idlest)
		}
	}
	if ctx.Err() != nil {
		return
	}
	e.log.Warn("the policy store is full: the policies that were asked for the longest time ago are removed; "+
		"raise cache.max_policies if that is not wanted", "event", "store_full", "max_policies", limit, "removed",
		idlest.Len())
	for _, p := range *idlest {
		idle := func(entry Entry) bool { return !e.lastUsed(entry).After(p.used) }
		if e.remove(ctx, p.domain, idle) != nil {
			return // the next scan tries again
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
