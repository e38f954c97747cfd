package resolver

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/due"
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
	retries chan struct{} // a reload changed what fetches go by
}

// scanLoop walks over the store at once, then every scanInterval, and sooner when many policies have been learnt.
func (r *refresher) scanLoop(ctx context.Context) {
	ticker := time.NewTicker(scanInterval)
	defer ticker.Stop()
	for {
		now, begin := r.clock.Now(), time.Now()
		r.scan(ctx, now, r.clock.Steady())
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
	r.queue.Extend(now.Add(scanInterval + scanInterval/4))
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
		if waiting[e.Domain] == nil && steady && !r.live(e.term(), now) {
			removals.Go(func() error { r.evictor.removeExpired(rctx, e.Domain, now); return nil })
			continue
		}
		used, often := r.usage(e)
		c.add(e, often)
		if waiting[e.Domain] == nil {
			if at, ok := r.refreshAt(e, used); ok {
				r.queue.Add(now, e.refreshItem(at))
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
// arrears neither burst nor hold up questions. One registrable domain or policy host network has a quarter of these. It
// returns when ctx has ended and nothing that it started runs.
func (r *refresher) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		cfg := r.config.Load()
		if cfg.refreshes.Acquire(ctx, 1) != nil {
			return
		}
		domain, wait := r.queue.Next(r.clock.Now(), clockPatience, cfg.maxRefreshes)
		if domain.IsZero() {
			cfg.refreshes.Release(1)
			r.queue.Sleep(ctx, wait)
			continue
		}
		running.Go(func() {
			defer cfg.refreshes.Release(1)
			r.refresh(ctx, domain)
		})
		pause(ctx, refreshPace)
	}
}

// refresh looks a domain up by the same path as a question. Where its policy is still due afterwards, it is tried again
// later: this host could not, or the fleet has refused the fetch until the next look at the TXT record.
func (r *refresher) refresh(ctx context.Context, domain dnsname.Name) {
	var again *due.Item
	defer func() { r.queue.Done(domain, again) }()
	found, err := r.lookups.Ask(ctx, domain, lookups.Refresh)
	h, ok := found.Value.finding.(*CachedPolicy)
	moment := instantOf(r.clock.Now())
	now := moment.wall
	if err != nil || !ok || r.nextCheck(h.Entry(), now).After(now) {
		return
	}
	at := now.Add(h.nextLook().Sub(moment.mono))
	if soon := now.Add(recheckFailed); at.Before(soon) {
		at = soon
	}
	item := h.Entry().refreshItem(at)
	again = &item
}

// refreshItem is the policy's refresh at that time, for the queue.
func (e Entry) refreshItem(at time.Time) due.Item {
	return due.Item{Domain: e.Domain, At: at, Expires: e.Expires(), MaxAge: e.Policy.MaxAge, Network: e.Network}
}

// schedule queues a policy's refresh, unless it has not been asked for in a long time or it expires before.
func (b *base) schedule(h *CachedPolicy) {
	e := h.Entry()
	if at, ok := b.refreshAt(e, h.Used()); ok {
		b.queue.Add(b.clock.Now(), e.refreshItem(at))
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
func (b *base) refreshAt(e Entry, used time.Time) (time.Time, bool) {
	now := b.clock.Now()
	at := b.nextCheck(e, now)
	return at, !at.After(b.ends(e, now)) && at.Sub(used) < b.config.Load().UnusedAfter
}

// nextCheck is when the policy of an entry is due to be fetched again.
func (b *base) nextCheck(e Entry, now time.Time) time.Time {
	return b.normalized(e, now).NextCheck(b.config.Load().RefreshInterval)
}

// normalized is the entry as it counts at now: see normalizeClock. A backoff that began before a reload changed what
// fetches go by ended with the reload.
func (b *base) normalized(e Entry, now time.Time) Entry {
	e = e.normalizeClock(now)
	if changed := b.config.Load().changed; e.Checked.Before(changed) && !changed.After(now) {
		e.Failures.RetryAt = earlier(e.Failures.RetryAt, changed)
	}
	return e
}

// retryFailed makes the refreshes due that a backoff of before a reload holds back.
func (r *refresher) retryFailed(ctx context.Context) {
	now := r.clock.Now()
	hasten := func(e Entry, used time.Time) {
		if at, ok := r.refreshAt(e, used); ok && e.Failures.Count > 0 && !at.After(now) {
			r.queue.Hasten(e.refreshItem(at))
		}
	}
	for e, err := range r.store.All(ctx) {
		if err == nil {
			used, _ := r.usage(e)
			hasten(e, used)
		}
	}
	for _, h := range r.pending.snapshot() { // the store's entries of these are out of date
		hasten(h.Entry(), h.Used())
	}
}

// live reports whether the policy binds at now. One that the wall clock ended by a jump binds for as long as it had
// before (package clock).
func (b *base) live(t term, now time.Time) bool {
	return t.covers(now) || t.covers(b.clock.At(t.fetched))
}

// ends is when the policy ends by the wall clock that shows now.
func (b *base) ends(e Entry, now time.Time) time.Time {
	if e.Live(now) {
		return e.Expires()
	}
	return e.Expires().Add(now.Sub(b.clock.At(e.Fetched)))
}

// decisionTime is the time by which a finding is to be judged at now.
func (b *base) decisionTime(now time.Time, f Finding) time.Time {
	if h, ok := f.(*CachedPolicy); ok && !h.term().covers(now) {
		return b.clock.At(h.Fetched())
	}
	return now
}
