package resolver

import (
	"container/heap"
	"context"
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/lookups"
)

const (
	// scanInterval is the time between two walks over the store, which find the refreshes that are due before the next
	// one.
	scanInterval = time.Hour
	// refreshPace is the least time between the starts of two refreshes: 50 a second at most, 100,000 in 34 minutes.
	refreshPace = 20 * time.Millisecond
	// clockPatience is how long the refresher sleeps at most: the wall clock may be set meanwhile.
	clockPatience = time.Minute
	// minScanPause is the least time between two walks over a store that is too large.
	minScanPause = time.Second
	// staggerMax spreads the refreshes of one policy over the hosts of a fleet: the first to begin does it for all, and
	// tells the others before most of them have begun.
	staggerMax = 2 * time.Minute
)

// refresher fetches policies before they expire: it walks over the store for those that are due soon, queues them, and
// asks for the lookup of each at its time.
type refresher struct {
	*base
	evictor *evictor
}

// scanLoop walks over the store at once, then every scanInterval, and sooner when many policies have been learnt.
func (r *refresher) scanLoop(ctx context.Context) {
	ticker := time.NewTicker(scanInterval)
	defer ticker.Stop()
	for {
		now, begin := r.now(), time.Now()
		r.scan(ctx, now, r.evictor.clock.steady(now))
		took := time.Since(begin)
		select {
		case <-ticker.C:
		case <-r.size.over:
			pause(ctx, max(took, minScanPause)) // a store that cannot be written stays too large
		case <-ctx.Done():
			return
		}
	}
}

// scan queues what is due before the next scan, and removes what is over the limits, and what has expired at now; that
// stays while the clock, which said now, cannot be trusted.
func (r *refresher) scan(ctx context.Context, now time.Time, steady bool) {
	cfg := r.config.Load()
	r.queue.extend(now.Add(scanInterval + scanInterval/4))
	removals, rctx := errgroup.WithContext(ctx)
	removals.SetLimit(removalsAtOnce)
	c := newCensus()
	waiting := r.pending.snapshot() // the store's entries of these are out of date
	for e, err := range r.store.All(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			r.log.Warn("cannot read an entry of the policy store; its domain is looked up again when it is asked for",
				"event", "store_read_failed", "domain", e.Domain, "error", err)
			continue
		}
		if waiting[e.Domain] == nil && steady && !e.Live(now) {
			removals.Go(func() error { r.evictor.removeExpired(rctx, e.Domain, now); return nil })
			continue
		}
		used, often := r.usage(e)
		c.add(e, often)
		if waiting[e.Domain] == nil {
			e = e.normalizeClock(now)
			if at, ok := refreshAt(cfg, e, used); ok {
				r.queue.add(now, e.Domain, at)
			}
		}
	}
	for _, h := range waiting {
		r.schedule(h)
	}
	_ = removals.Wait() // what fails is tried again by the next scan
	r.size.bytes.Store(c.bytes)
	if ctx.Err() == nil {
		r.evictor.evict(ctx, c, cfg.limit())
	}
}

// run starts a refresh when its time comes, at a bounded rate and with half of the fetches at most, so that a week's
// arrears neither burst nor hold up questions. It returns when ctx has ended and nothing that it started runs.
func (r *refresher) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		domain, wait := r.queue.next(r.now(), clockPatience)
		if domain.IsZero() {
			r.queue.sleep(ctx, wait)
			continue
		}
		slots := r.config.Load().refreshes
		if slots.Acquire(ctx, 1) != nil {
			return
		}
		running.Go(func() {
			defer slots.Release(1)
			r.refresh(ctx, domain)
		})
		pause(ctx, refreshPace)
	}
}

// refresh looks a domain up by the same path as a question. Where its policy is still due afterwards, it is tried again
// later: this host could not, or the fleet has refused the fetch until the next look at the TXT record.
func (r *refresher) refresh(ctx context.Context, domain dnsname.Name) {
	again := time.Time{}
	defer func() { r.queue.done(domain, again) }()
	found, err := r.lookups.Ask(ctx, domain, lookups.Refresh)
	h, ok := found.Value.finding.(*CachedPolicy)
	now := r.now()
	if err != nil || !ok || h.Entry.NextCheck(r.config.Load().RefreshInterval).After(now) {
		return
	}
	again = h.nextLook()
	if soon := now.Add(recheckFailed); again.Before(soon) {
		again = soon
	}
	again = earlier(again, now.Add(maxCheck)) // a clock that ran ahead may have set it
}

// schedule queues a policy's refresh, unless it has not been asked for in a long time or it expires before.
func (b *base) schedule(h *CachedPolicy) {
	if at, ok := refreshAt(b.config.Load(), h.Entry, h.Used()); ok {
		b.queue.add(b.now(), h.Entry.Domain, at)
	}
}

// usage is when the store's entry was last used, and whether on several days, as far as memory knows better.
func (b *base) usage(e Entry) (used time.Time, often bool) {
	used, often = e.Used, e.UsedDays > 1
	if h, ok := b.memory.Policy(e.Domain); ok {
		if often = often || h.UsedOften(); h.Used().After(used) {
			used = h.Used()
		}
	}
	return used, often
}

// refreshAt is when an entry last asked for at used should be refreshed, and whether it should be at all.
func refreshAt(cfg *config, e Entry, used time.Time) (time.Time, bool) {
	at := e.NextCheck(cfg.RefreshInterval)
	return at, !at.After(e.Expires()) && at.Sub(used) < cfg.UnusedAfter
}

// refreshQueue holds the refreshes that are due before the next scan of the store, soonest first. Later ones are left
// to that scan, so that a million policies cost no memory here.
type refreshQueue struct {
	staggered bool // over the hosts of a fleet
	seed      maphash.Seed

	mu      sync.Mutex
	horizon time.Time // what is due after this is not held
	queue   dueQueue
	due     map[dnsname.Name]time.Time // the one time that counts for a domain
	taken   map[dnsname.Name]bool      // by next, until done
	wake    chan struct{}              // tells that there may be something sooner
}

type dueItem struct {
	domain dnsname.Name
	at     time.Time
}

func newRefreshQueue(staggered bool) *refreshQueue {
	return &refreshQueue{staggered: staggered, seed: maphash.MakeSeed(), due: map[dnsname.Name]time.Time{},
		taken: map[dnsname.Name]bool{}, wake: make(chan struct{}, 1)}
}

// extend moves the horizon; a scan does that.
func (q *refreshQueue) extend(horizon time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.horizon = horizon
}

// add sets a domain's time, over any that it had. In a fleet it is moved by this host's own part of staggerMax, which
// is always the same for one domain. A refresh that is overdue at now changes nothing for a domain that is queued or
// being refreshed: that one may have failed, and waits for its next try.
func (q *refreshQueue) add(now time.Time, domain dnsname.Name, at time.Time) {
	if q.staggered {
		at = at.Add(time.Duration(maphash.String(q.seed, domain.String()) % uint64(staggerMax)))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, queued := q.due[domain]; !at.After(now) && (queued || q.taken[domain]) {
		return
	}
	q.set(domain, at)
}

// done ends what next began. Where the refresh is still due, it is tried again at the time again.
func (q *refreshQueue) done(domain dnsname.Name, again time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.taken, domain)
	if !again.IsZero() {
		q.set(domain, again)
	}
}

// set sets a domain's time, over any that it had. Call it with mu held.
func (q *refreshQueue) set(domain dnsname.Name, at time.Time) {
	if at.After(q.horizon) {
		delete(q.due, domain)
		return
	}
	if old, ok := q.due[domain]; ok && old.Equal(at) {
		return
	}
	q.due[domain] = at
	heap.Push(&q.queue, dueItem{domain, at})
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// drop takes a domain out of the queue.
func (q *refreshQueue) drop(domain dnsname.Name) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.due, domain)
}

// next takes a domain that is due out of the queue, until done; else it returns how long to wait for the first, at most
// idle.
func (q *refreshQueue) next(now time.Time, idle time.Duration) (domain dnsname.Name, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) > 0 {
		first := q.queue[0]
		if at, ok := q.due[first.domain]; !ok || !at.Equal(first.at) {
			heap.Pop(&q.queue) // superseded
			continue
		}
		if wait := first.at.Sub(now); wait > 0 {
			return dnsname.Name{}, min(wait, idle)
		}
		heap.Pop(&q.queue)
		delete(q.due, first.domain)
		q.taken[first.domain] = true
		return first.domain, 0
	}
	return dnsname.Name{}, idle
}

// sleep waits, but not past something sooner that comes into the queue.
func (q *refreshQueue) sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.wake:
	case <-ctx.Done():
	}
}

// count returns how many refreshes are queued, and how many of them are due at now.
func (q *refreshQueue) count(now time.Time) (all, due int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range q.due {
		if !at.After(now) {
			due++
		}
	}
	return len(q.due), due
}

// dueQueue is a heap of dueItem, soonest first.
type dueQueue []dueItem

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q dueQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) { *q = append(*q, x.(dueItem)) }

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}
