package resolver

import (
	"container/heap"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
)

const (
	// removalsAtOnce lets removals share the store's commits, and be few enough to hold up no question's write.
	removalsAtOnce = 16
	// maxVictims bounds how many policies are evicted after one walk.
	maxVictims = 20_000
	// fullAlertInterval is the least time between two lines about a full store.
	fullAlertInterval = 10 * time.Minute
)

// evictor removes policies from store and memory: what has expired, and what is over the store's bounds. It belongs to
// the goroutine of the scans.
type evictor struct {
	*base
	alerted time.Time // of the last line about a full store
	removed int64     // since then
}

// removeExpired removes a policy that had expired at now.
func (e *evictor) removeExpired(ctx context.Context, domain dnsname.Name, now time.Time) {
	// the next scan tries again
	_, _ = e.remove(ctx, domain, func(old Entry) bool { return !e.live(old.term(), now) })
}

// remove deletes a domain's policy from store and memory, if which accepts it as it is now, and reports whether it did:
// a fetch may have come between, or have brought what still waits for the disk. The errors are the store's, and those
// of Exclusive.
func (e *evictor) remove(ctx context.Context, domain dnsname.Name, which func(Entry) bool) (removed bool, err error) {
	var failed error
	err = e.lookups.Exclusive(ctx, domain, func() {
		if h, ok := e.memory.Policy(domain); ok && !which(h.Entry()) {
			return
		}
		if h := e.pending.unsaved(domain); h != nil && !which(h.Entry()) {
			return
		}
		stored, err := e.store.Get(ctx, domain)
		if err != nil || !which(stored) {
			return
		}
		if failed = e.pending.delete(ctx, domain); failed == nil {
			e.forgetPolicy(domain)
			removed = true
		}
	})
	return removed, errors.Join(err, failed)
}

// bounds are what the store may hold.
type bounds struct {
	policies int
	bytes    int64
}

// spare is how much of a bound is free after an eviction: one hundredth.
func spare[N int | int64](bound N) N { return bound / 100 }

// storeSize follows how large the store is between two walks over it, and calls for one when it passes its bounds.
type storeSize struct {
	bytes atomic.Int64  // as the last walk has found, and learnt since
	over  chan struct{} // calls for a walk
}

// learnt notes that the store holds so many policies now, and so many bytes more.
func (s *storeSize) learnt(policies int, bytes int64, limit bounds) {
	if total := s.bytes.Add(bytes); policies <= limit.policies && total <= limit.bytes {
		return
	}
	s.callWalk()
}

func (s *storeSize) callWalk() {
	select {
	case s.over <- struct{}{}:
	default: // one is to come already
	}
}

// census is what a walk over the store has counted.
type census struct {
	bounds
	held [2]*fair.Tally // by owner, in heldUnits: of policies that were used often (1), and of the others (0)
}

// heldUnit is the room, in bytes, that a policy takes at least where it is counted what its owner holds: so the length
// of a name makes no difference.
const heldUnit = 4096

func newCensus() *census { return &census{held: [2]*fair.Tally{fair.NewTally(), fair.NewTally()}} }

func (c *census) add(e Entry, often bool) {
	c.policies++
	c.bytes += e.size()
	c.tally(often).Add(e.owners(), uint64(e.size()+heldUnit-1)/heldUnit)
}

func (c *census) tally(often bool) *fair.Tally {
	if often {
		return c.held[1]
	}
	return c.held[0]
}

// surplus is what has to go for the store to be within its bounds, with something to spare; false: it is within them.
func (c *census) surplus(limit bounds) (surplus bounds, over bool) {
	if c.policies > limit.policies {
		surplus.policies = c.policies - limit.policies + spare(limit.policies)
	}
	if c.bytes > limit.bytes {
		surplus.bytes = c.bytes - limit.bytes + spare(limit.bytes)
	}
	return surplus, surplus != bounds{}
}

// evict removes the policies that matter least, so that the store is within its bounds: those that were asked for on
// one day only, of the owner who holds most, those that were asked for the longest time ago. So a flood evicts what it
// has brought.
func (e *evictor) evict(ctx context.Context, c *census, limit bounds) {
	surplus, over := c.surplus(limit)
	if !over {
		return
	}
	chosen := victims{surplus: surplus}
	for entry, err := range e.store.All(ctx) {
		if err == nil {
			chosen.offer(e.victim(c, entry))
		}
	}
	if ctx.Err() != nil {
		return
	}
	var removed atomic.Int64
	removals, rctx := errgroup.WithContext(ctx)
	removals.SetLimit(removalsAtOnce)
	for _, v := range chosen.heap {
		removals.Go(func() error {
			gone, err := e.remove(rctx, v.domain, func(now Entry) bool {
				return e.tooLarge(limit) && !e.victim(c, now).outlives(v)
			})
			if gone {
				removed.Add(1)
				e.size.bytes.Add(-v.bytes)
			}
			return err // the next walk tries again
		})
	}
	failed := removals.Wait()
	e.metrics.evicted.Add(float64(removed.Load()))
	e.alert(limit, removed.Load())
	if failed == nil && len(chosen.heap) == maxVictims {
		e.size.callWalk()
	}
}

// tooLarge reports whether the store still has to shrink: while a domain's lookup was waited for, others may have gone.
func (e *evictor) tooLarge(limit bounds) bool {
	return e.store.Len() > limit.policies-spare(limit.policies) ||
		e.size.bytes.Load() > limit.bytes-spare(limit.bytes)
}

// alert logs that the store is full: at once, and then once in fullAlertInterval.
func (e *evictor) alert(limit bounds, removed int64) {
	now := time.Now()
	e.removed += removed
	if !e.alerted.IsZero() && now.Sub(e.alerted) < fullAlertInterval {
		return
	}
	e.log.Warn("the policy store is full: policies were removed, first those that were asked for on one day only, of "+
		"the registrable domain or policy host network that has most; if that is not wanted, raise cache.max_policies "+
		"or cache.store", "event", "store_full", "max_policies", limit.policies, "store_bytes", limit.bytes,
		"removed", e.removed)
	e.alerted, e.removed = now, 0
}

// victim is a policy that may be evicted.
type victim struct {
	domain dnsname.Name
	often  bool   // used on several days
	held   uint64 // by the owner that holds most
	used   int64  // Unix seconds
	bytes  int64
}

func (e *evictor) victim(c *census, entry Entry) victim {
	used, often := e.usage(entry)
	return victim{domain: entry.Domain, often: often, held: c.tally(often).Of(entry.owners()), used: used.Unix(),
		bytes: entry.size()}
}

// outlives reports whether v goes after w.
func (v victim) outlives(w victim) bool {
	switch {
	case v.often != w.often:
		return v.often
	case v.held != w.held:
		return v.held < w.held
	}
	return v.used > w.used
}

// victims is a heap of those that go first so far: as few as make up the surplus.
type victims struct {
	surplus bounds
	bytes   int64
	heap    []victim
}

// offer takes in one, and drops what is not needed any more.
func (q *victims) offer(v victim) {
	heap.Push(q, v)
	for len(q.heap) > maxVictims || len(q.heap) > q.surplus.policies && q.bytes-q.heap[0].bytes >= q.surplus.bytes {
		heap.Pop(q)
	}
}

// Len implements heap.Interface.
func (q *victims) Len() int { return len(q.heap) }

// Less implements heap.Interface.
func (q *victims) Less(i, j int) bool { return q.heap[i].outlives(q.heap[j]) }

// Swap implements heap.Interface.
func (q *victims) Swap(i, j int) { q.heap[i], q.heap[j] = q.heap[j], q.heap[i] }

// Push implements heap.Interface.
func (q *victims) Push(x any) {
	v := x.(victim)
	q.bytes += v.bytes
	q.heap = append(q.heap, v)
}

// Pop implements heap.Interface.
func (q *victims) Pop() any {
	last := len(q.heap) - 1
	v := q.heap[last]
	q.bytes -= v.bytes
	q.heap = q.heap[:last]
	return v
}

// forgetPolicy ends what is known of a policy outside the store.
func (b *base) forgetPolicy(domain dnsname.Name) {
	b.memory.ForgetPolicy(domain)
	b.queue.Drop(domain)
}
