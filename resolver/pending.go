package resolver

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// saveLimit is how long a question waits for a disk; after it the answer goes out from memory, and the write is
	// retried.
	saveLimit = 10 * time.Second
	// saveRetry is the time between two tries to write what could not be written.
	saveRetry = 30 * time.Second
	// maxUnsaved bounds what waits for a disk, in bytes of memory: about 45,000 policies of the usual size.
	maxUnsaved = 64 << 20
	// writesAtOnce is how many of them are written at once.
	writesAtOnce = 256
	// lastSaveLimit is how long the daemon's end waits for the disk to take what still waits for it.
	lastSaveLimit = 2 * time.Second
)

// pendingWrites writes entries to the store, and keeps those that a failing disk did not take. Mail goes on meanwhile.
type pendingWrites struct {
	store Store
	log   events

	mu      sync.Mutex
	waiting map[dnsname.Name]*CachedPolicy
	bytes   int64 // of what is in waiting
	missed  int   // writes that failed and found no room in waiting
	failing bool
}

func newPendingWrites(store Store, log events) *pendingWrites {
	return &pendingWrites{store: store, log: log, waiting: map[dnsname.Name]*CachedPolicy{}}
}

// save writes an entry; when it returns, the entry is durable or waits for the disk. Like delete it belongs into the
// Group of lookups, so that what is written last is what is known last.
func (s *pendingWrites) save(ctx context.Context, h *CachedPolicy) {
	err := s.write(ctx, h)
	s.mu.Lock()
	defer s.mu.Unlock()
	domain := h.domain
	if err == nil {
		s.written(domain)
		return
	}
	s.forget(domain)
	if size := h.Bytes(); s.bytes+size <= maxUnsaved {
		s.waiting[domain] = h
		s.bytes += size
	} else {
		s.missed++
	}
	if !s.failing {
		s.failing = true
		s.log.Error("cannot write the policy store: policies are served from memory and the write is retried every "+
			"30 s, "+
			"but a restart would forget them; check the disk space and the state directory",
			"event", "store_write_failed", "domain", domain, "error", err)
	}
}

func (s *pendingWrites) write(ctx context.Context, h *CachedPolicy) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	return s.put(ctx, h.Entry())
}

// put writes an entry. Where one of the domain has waited for the disk, what the store has was known before it,
// whatever its time says: a clock that has been set back since may have fetched it, and the store would keep it as the
// newer one. An entry that was not looked at since its fetch replaces it.
func (s *pendingWrites) put(ctx context.Context, e Entry) error {
	if s.unsaved(e.Domain) != nil {
		if old, err := s.store.Get(ctx, e.Domain); err == nil && old.Fetched.After(e.Fetched) {
			e.Checked = e.Fetched
		}
	}
	return s.store.Put(ctx, e)
}

// written notes that nothing of a domain waits any more, and logs a line when that was the last. Call it with mu held.
func (s *pendingWrites) written(domain dnsname.Name) {
	s.forget(domain)
	if !s.failing || len(s.waiting) > 0 {
		return
	}
	s.failing = false
	if s.missed == 0 {
		s.log.Info("the policy store can be written again, nothing was lost", "event", "store_recovered")
		return
	}
	s.log.Warn("the policy store can be written again, but more writes had failed than could be kept waiting; those "+
		"policies are in memory alone until they are refreshed, and a restart before that loses them", "event",
		"store_recovered", "unwritten",
		s.missed)
	s.missed = 0
}

// forget takes a domain out of what waits. Call it with mu held.
func (s *pendingWrites) forget(domain dnsname.Name) {
	if h := s.waiting[domain]; h != nil {
		s.bytes -= h.Bytes()
		delete(s.waiting, domain)
	}
}

// unsaved returns what waits for the disk of a domain, nil where nothing does.
func (s *pendingWrites) unsaved(domain dnsname.Name) *CachedPolicy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[domain]
}

// delete removes a domain's entry from the store and from what waits for it.
func (s *pendingWrites) delete(ctx context.Context, domain dnsname.Name) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	if err := s.store.Delete(ctx, domain); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(domain)
	return nil
}

// retry tries once more to write all that waits, many at once so that they share the store's commits, and stops at the
// first failure. exclusive is Exclusive of the Group of lookups.
func (s *pendingWrites) retry(ctx context.Context, exclusive func(context.Context, dnsname.Name, func()) error) {
	writes, ctx := errgroup.WithContext(ctx)
	writes.SetLimit(writesAtOnce)
	for domain := range s.snapshot() {
		if ctx.Err() != nil {
			break
		}
		writes.Go(func() error {
			var failed error
			if err := exclusive(ctx, domain, func() { failed = s.again(ctx, domain) }); err != nil {
				return err
			}
			return failed
		})
	}
	_ = writes.Wait() // what failed waits for the next time
}

// again tries once more to write what waits of a domain.
func (s *pendingWrites) again(ctx context.Context, domain dnsname.Name) error {
	h := s.unsaved(domain)
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, saveLimit)
	defer cancel()
	if err := s.put(ctx, h.Entry()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[domain] == h {
		s.written(domain)
	}
	return nil
}

// last is the retry at the end, when no lookup runs any more. What the disk does not take now is lost.
func (s *pendingWrites) last() {
	ctx, cancel := context.WithTimeout(context.Background(), lastSaveLimit)
	defer cancel()
	s.retry(ctx, func(_ context.Context, _ dnsname.Name, f func()) error { f(); return nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.waiting); n > 0 {
		s.log.Error("policies could not be written to the store before the end and are lost; they are looked up again "+
			"when mail for their domains comes; check the disk space and the state directory", "event", "store_lost",
			"policies", n)
	}
}

// snapshot is what waits for the disk.
func (s *pendingWrites) snapshot() map[dnsname.Name]*CachedPolicy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.waiting)
}

// state is how many policies wait for the disk, how many more found no room to wait, and whether the last write failed.
func (s *pendingWrites) state() (waiting, unwritten int, failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting), s.missed, s.failing
}

// refiller writes what is in memory into the store again whenever the store was recreated.
type refiller struct {
	*base
	renewed <-chan struct{}
}

func (r *refiller) run(ctx context.Context) {
	for {
		select {
		case <-r.renewed:
			r.refill(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// refill writes every live policy that is in memory, many at once so that they share the store's commits. Those that
// the store has already cost it no write.
func (r *refiller) refill(ctx context.Context) {
	writes, ctx := errgroup.WithContext(ctx)
	writes.SetLimit(writesAtOnce)
	n := 0
	for h := range r.memory.All() {
		if ctx.Err() != nil {
			break
		}
		n++
		writes.Go(func() error {
			domain := h.domain
			_ = r.lookups.Exclusive(ctx, domain, func() { // an error is the end, or a panic that was logged
				if h, ok := r.memory.Policy(domain); ok && r.live(h.term(), r.clock.Now()) {
					r.pending.save(ctx, h)
				}
			})
			return ctx.Err()
		})
	}
	if writes.Wait() == nil { // else it is the end
		r.log.Info("the policy store was recreated and refilled from memory", "event", "store_renewed", "policies", n)
	}
}
