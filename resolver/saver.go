package resolver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// saveLimit is how long a question waits for a disk; after it the answer goes out from memory, and the write is retried.
	saveLimit = 10 * time.Second
	// saveRetry is the time between two tries to write what could not be written.
	saveRetry = 30 * time.Second
	// maxUnsaved bounds what waits for a disk.
	maxUnsaved = 100_000
)

// saver writes entries to the store, and holds on to those that a failing disk did not take. Mail goes on meanwhile.
type saver struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	waiting map[dnsname.Name]*Held
	failing bool
}

func newSaver(store Store, log *slog.Logger) *saver {
	return &saver{store: store, log: log, waiting: map[dnsname.Name]*Held{}}
}

// save writes an entry; when it returns, the entry is durable or waits for the disk.
func (s *saver) save(ctx context.Context, h *Held) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	s.settle(h, s.store.Put(ctx, h.Entry))
}

// settle notes what came of a write, with one line when the store begins to fail and one when it works again.
func (s *saver) settle(h *Held, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	domain := h.Entry.Domain
	if err != nil {
		if _, known := s.waiting[domain]; known || len(s.waiting) < maxUnsaved {
			s.waiting[domain] = h
		}
		if !s.failing {
			s.failing = true
			s.log.Error("cannot write the policy store: policies are served from memory and the write is retried every 30 s, "+
				"but a restart would forget them; check the disk space and the state directory",
				"event", "store_write_failed", "domain", domain, "error", err)
		}
		return
	}
	if w := s.waiting[domain]; w != nil && !w.Entry.Fetched.After(h.Entry.Fetched) {
		delete(s.waiting, domain)
	}
	if s.failing && len(s.waiting) == 0 {
		s.failing = false
		s.log.Info("the policy store can be written again, nothing was lost", "event", "store_recovered")
	}
}

// unsaved returns what waits for the disk of a domain, nil where nothing does.
func (s *saver) unsaved(domain dnsname.Name) *Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[domain]
}

// delete removes a domain's entry from the store and from what waits for it.
func (s *saver) delete(ctx context.Context, domain dnsname.Name) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	if err := s.store.Delete(ctx, domain); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, domain)
	return nil
}

// retry tries once more to write all that waits, and stops at the first failure.
func (s *saver) retry(ctx context.Context) {
	s.mu.Lock()
	waiting := make([]*Held, 0, len(s.waiting))
	for _, h := range s.waiting {
		waiting = append(waiting, h)
	}
	s.mu.Unlock()
	for _, h := range waiting {
		if ctx.Err() != nil {
			return
		}
		err := s.store.Put(ctx, h.Entry)
		s.settle(h, err)
		if err != nil {
			return
		}
	}
}
