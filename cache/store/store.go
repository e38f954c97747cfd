// Package store keeps policies in a file for the next start, and beside it a snapshot of the same records.
//
// A domain that publishes an MTA-STS policy asks senders to remember it for max_age, often months (RFC 8461 section
// 3.2), and that memory is the whole protection: an attacker who can drop or forge DNS answers can hide a policy from a
// sender that never saw it, but not from one that remembers. So a policy that was learnt must outlive a restart, a
// crash, a full disk and a damaged file, as far as a disk allows.
//
// The file is bbolt's, used through its public interface alone (handle.go). One goroutine writes: what waits at the
// same time shares one commit (writer.go). bbolt's pages carry no checksum, so each record has one over its key and
// itself; one that fails counts as absent. policies.snapshot is a stream of the same records (snapshot.go). When bbolt
// cannot open, read or write its file, the file is set aside, and a new one is filled from what bbolt still reads of
// it, from the snapshot and from memory (recover.go).
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Store is a resolver.Store in one file, for one process. Of its errors that are not the context's: *IOError when the
// disk fails, ErrClosed after Close. It recovers from a damaged file by itself, also while it runs.
type Store struct {
	path, snapshotPath string
	log                *slog.Logger
	now                func() time.Time

	stats atomic.Pointer[Stats] // only the writer changes them

	// cur is the open file. Only the writer changes it; nil while it is being recovered, and after a failure until the
	// next operation. It can only be read after a failure on a disk that has become read-only.
	cur atomic.Pointer[handle]

	lastCut time.Time // the writer's: when a handle was left because a guard took its map away

	renewed chan struct{} // see Renewed
	ops     chan *op
	closing chan struct{} // closed to end the goroutines
	running sync.WaitGroup
	close   func() error

	snapshots snapshots
}

var _ resolver.Store = (*Store)(nil)

// Options are what a Store needs from outside. The zero value logs nothing.
type Options struct {
	Logger *slog.Logger
	Now    func() time.Time // for the name of a file set aside; time.Now when nil
}

// Open opens the store at path, or begins one, with its directory. It takes a second at most when another process has
// it open, and else a few milliseconds, however many policies there are; recovering a damaged file takes some seconds
// for a million. The errors are *LockedError, *SchemaError and *IOError. Close it after use.
func Open(path string, opt Options) (*Store, error) {
	s := &Store{log: opt.Logger, now: opt.Now, renewed: make(chan struct{}, 1), ops: make(chan *op),
		closing: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.stats.Store(&Stats{})
	path, err := filepath.Abs(path)
	if err == nil {
		s.path, s.snapshotPath = path, path[:len(path)-len(filepath.Ext(path))]+".snapshot"
		err = s.open()
	}
	if err != nil {
		return nil, s.fault("open", err)
	}
	s.snapshots.due = firstSnapshot(s.snapshotPath)
	s.close = sync.OnceValue(s.end)
	s.running.Go(s.write)
	s.running.Go(s.keepSnapshots)
	return s, nil
}

// Close writes a snapshot where a policy has changed, waits for the commit in progress, answers ErrClosed to all that
// still wait, and closes the file. More calls do nothing.
func (s *Store) Close() error { return s.fault("close", s.close()) }

func (s *Store) end() (err error) {
	s.snapshot(time.Time{})
	close(s.closing)
	s.running.Wait()
	if h := s.cur.Swap(nil); h != nil {
		err = h.close()
	}
	return err
}

// Renewed tells that the store may lack what it had: its file was damaged, removed or replaced. Who still has it in
// memory should put it again.
func (s *Store) Renewed() <-chan struct{} { return s.renewed }

// renew makes Renewed tell.
func (s *Store) renew() {
	select {
	case s.renewed <- struct{}{}:
	default: // it has yet to be heard
	}
}

// Len is how many policies there are, expired ones included.
func (s *Store) Len() int { return int(s.stats.Load().Policies) }

// Get implements resolver.Store. A record that turns out to be damaged is replaced by that of the snapshot, or dropped,
// with a warning; one of a newer stsmapd is left alone, and is ErrNotCached.
func (s *Store) Get(ctx context.Context, domain dnsname.Name) (e resolver.Entry, err error) {
	err = s.read(ctx, func(h *handle) (err error) {
		e, err = h.find(domain.String())
		return err
	})
	switch {
	case err == nil:
		return e, nil
	case errors.Is(err, resolver.ErrNotCached), errors.Is(err, record.ErrVersion), isCorrupt(err):
		return resolver.Entry{}, fmt.Errorf("%w: %w", resolver.ErrNotCached, err)
	default:
		return resolver.Entry{}, s.fault("get", err)
	}
}

// Put implements resolver.Store. Puts that wait at the same time share a commit; one that is alone does not wait for
// others. Times are kept to the millisecond, and of Trouble.Reason the first 1,024 bytes.
func (s *Store) Put(ctx context.Context, e resolver.Entry) error {
	value, err := record.Encode(e)
	if err != nil {
		return fmt.Errorf("policy store: %w", err)
	}
	o := &op{kind: opPut, key: e.Domain.String(), value: value, fetched: e.Fetched.UnixMilli(),
		checked: e.Checked.UnixMilli()}
	if err := s.submit(ctx, o); err != nil {
		return s.fault("put", err)
	}
	return nil
}

// Delete implements resolver.Store.
func (s *Store) Delete(ctx context.Context, domain dnsname.Name) error {
	return s.fault("delete", s.submit(ctx, &op{kind: opDelete, key: domain.String()}))
}

// All implements resolver.Store. A damaged record is mended after its error, a *record.CorruptError, was yielded; one
// of a newer stsmapd yields record.ErrVersion and stays. A walk that finds fewer records than there are recovers the
// store.
func (s *Store) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		for p, err := range s.records(ctx) {
			if err != nil {
				yield(resolver.Entry{}, s.fault("walk", err))
				return
			}
			e, err := record.Decode(p.key, p.value)
			if err != nil {
				e.Domain, _ = dnsname.Parse(p.key)
				err = fmt.Errorf("policy store: %w", err)
			}
			if !yield(e, err) {
				return
			}
			if isCorrupt(err) {
				_ = s.mend(ctx, p.key, err) // its own error comes with the next record
			}
		}
	}
}

// records yields every record in the order of keys. If the file has not been replaced meanwhile, and there are fewer
// than there were, a part of the tree is not reached: that is damage.
func (s *Store) records(ctx context.Context) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		begin, found, from := s.stats.Load(), uint64(0), []byte{0}
		var first *handle
		for more := true; more; {
			var some []pair
			err := s.read(ctx, func(h *handle) (err error) {
				if first == nil {
					first = h
				}
				some, err = h.scan(from)
				more = len(some) > 0
				short := func() bool { return found+s.stats.Load().removed-begin.removed < begin.Policies }
				if err != nil || more || h != first || !short() {
					return err
				}
				// A removal that was seen may not be counted yet: it is when the writer has answered.
				if err := s.submit(ctx, &op{}); err == nil && short() {
					return damaged("%d records are not found",
						begin.Policies-found-s.stats.Load().removed+begin.removed)
				}
				return err
			})
			if err != nil {
				yield(pair{}, err)
				return
			}
			for _, p := range some {
				if err := ctx.Err(); err != nil || !yield(p, nil) {
					if err != nil {
						yield(pair{}, err)
					}
					return
				}
				found, from = found+1, append([]byte(p.key), 0)
			}
		}
	}
}

// maxTries bounds how often an operation is tried again because the file under it was recovered, or a record mended.
const maxTries = 4

// read calls look with the open file. What turns out to be damaged is put right, and look called again.
func (s *Store) read(ctx context.Context, look func(*handle) error) (err error) {
	for range maxTries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h, next := s.cur.Load(), error(nil)
		if h == nil {
			next = s.submit(ctx, &op{})
		} else if err = look(h); isCorrupt(err) {
			c, _ := as[*record.CorruptError](err)
			next = s.mend(ctx, c.Key, c)
		} else if d, ok := as[*damage](err); ok {
			next = s.submit(ctx, &op{broken: h, cause: d})
		} else if !errors.Is(err, errReplaced) {
			return err
		}
		if next != nil {
			return next
		}
	}
	return err
}

// mend replaces a damaged record by the snapshot's, or drops it. Where there is a snapshot without it, its key may be
// what is damaged: then the policy that it was is still in the snapshot, and the whole store is recovered.
func (s *Store) mend(ctx context.Context, key string, cause error) error {
	o := &op{kind: opMend, key: key}
	n := 0
	for k, value := range readSnapshot(s.snapshotPath) {
		if n++; k == key {
			o.value, _ = record.Doubt(key, value)
			break
		}
	}
	if n > 0 && o.value == nil {
		o = &op{broken: s.cur.Load(), cause: &damage{cause.Error() + ", and the snapshot has none"}}
	}
	if err := s.submit(ctx, o); err != nil {
		return err
	}
	if o.verdict == replaced || o.verdict == removed {
		s.log.Warn("a policy's record in the store was damaged: the policy is looked up before it is answered again; "+
			"if this happens again, check the disk", "event", "store_record_dropped", "domain", key, "path", s.path,
			"error", cause)
	}
	return nil
}

// isCorrupt reports whether an error says that a record fails its checksum, or makes no sense.
func isCorrupt(err error) bool {
	_, ok := as[*record.CorruptError](err)
	return ok
}

// fault makes the errors of the system and of bbolt an *IOError; all others say enough.
func (s *Store) fault(op string, err error) error {
	_, locked := as[*LockedError](err)
	_, newer := as[*SchemaError](err)
	if err == nil || locked || newer || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, ErrClosed) {
		return err
	}
	return &IOError{Op: op, Path: s.path, Err: err}
}
