// Package store keeps policies in a file for the next start, and beside it a snapshot of the same records.
//
// A domain that publishes an MTA-STS policy asks senders to remember it for max_age, often months (RFC 8461 section
// 3.2), and that memory is the whole protection: an attacker who can drop or forge DNS answers can hide a policy from a
// sender that never saw it, but not from one that remembers. So a policy that was learnt must outlive a restart, a
// crash, a full disk and a damaged file, as far as a disk allows.
//
// The file is bbolt's, used through its public interface alone (handle.go). One goroutine writes: what waits at the
// same time shares one commit (writer.go). bbolt's pages carry no checksum, so each record has one over its key and
// itself; one that fails counts as absent (reader.go). policies.snapshot is a stream of the same records
// (snapshots.go). When bbolt cannot open, read or write its file, the file is set aside (recovery.go), and a new one is
// filled from what bbolt still reads of it, from the snapshot and from memory (refill.go).
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Store is a resolver.Store in one file, for one process. Of its errors that are not the context's: *IOError when the
// disk fails, ErrClosed after Close. It recovers from a damaged file by itself, also while it runs.
type Store struct {
	recovery  *recovery
	writer    *writer
	reader    *reader
	snapshots *snapshots
	counts    *counts
	running   sync.WaitGroup
	close     func() error
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
	log, now, n := opt.Logger, opt.Now, &counts{}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	n.Store(&Stats{})
	r := &recovery{path: path, log: log, now: now, counts: n, renewed: make(chan struct{}, 1)}
	w := &writer{recovery: r, counts: n, ops: make(chan *op), closing: make(chan struct{})}
	s := &Store{recovery: r, writer: w, counts: n, reader: &reader{recovery: r, writer: w, counts: n, log: log}}
	path, err := filepath.Abs(path)
	if err == nil {
		r.path, r.snapshot = path, strings.TrimSuffix(path, filepath.Ext(path))+".snapshot"
		err = r.open()
	}
	if err != nil {
		return nil, s.fault("open", err)
	}
	s.snapshots = newSnapshots(r.snapshot, s.reader, log)
	s.close = sync.OnceValue(s.end)
	s.running.Go(w.run)
	s.running.Go(func() { s.snapshots.keep(w.closing) })
	return s, nil
}

// Close writes a snapshot where a policy has changed, waits for the commit in progress, answers ErrClosed to all that
// still wait, and closes the file. More calls do nothing.
func (s *Store) Close() error { return s.fault("close", s.close()) }

func (s *Store) end() (err error) {
	s.snapshots.write(time.Time{})
	close(s.writer.closing)
	s.running.Wait()
	if h := s.recovery.cur.Swap(nil); h != nil {
		err = h.close()
	}
	return err
}

// Renewed tells that the store may lack what it had: its file was damaged, removed or replaced. Who still has it in
// memory should put it again.
func (s *Store) Renewed() <-chan struct{} { return s.recovery.renewed }

// Len is how many policies there are, expired ones included.
func (s *Store) Len() int { return int(s.counts.Load().Policies) }

// Stats returns the counts.
func (s *Store) Stats() Stats {
	n := *s.counts.Load()
	n.Snapshots, n.SnapshotErrors = s.snapshots.written.Load(), s.snapshots.failed.Load()
	return n
}

// Get implements resolver.Store. A record that turns out to be damaged is replaced by that of the snapshot, or dropped,
// with a warning; one of a newer stsmapd is left alone, and is ErrNotCached.
func (s *Store) Get(ctx context.Context, domain dnsname.Name) (e resolver.Entry, err error) {
	err = s.reader.read(ctx, func(h *handle) (err error) {
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
// others. Times are kept to the millisecond, and of FetchFailures.Reason the first 1,024 bytes.
func (s *Store) Put(ctx context.Context, e resolver.Entry) error {
	value, err := record.Encode(e)
	if err != nil {
		return fmt.Errorf("policy store: %w", err)
	}
	o := &op{kind: opPut, key: e.Domain.String(), value: value, fetched: e.Fetched.UnixMilli(),
		checked: e.Checked.UnixMilli()}
	if err := s.writer.submit(ctx, o); err != nil {
		return s.fault("put", err)
	}
	return nil
}

// Delete implements resolver.Store.
func (s *Store) Delete(ctx context.Context, domain dnsname.Name) error {
	return s.fault("delete", s.writer.submit(ctx, &op{kind: opDelete, key: domain.String()}))
}

// All implements resolver.Store. A damaged record is mended after its error, a *record.CorruptError, was yielded; one
// of a newer stsmapd yields record.ErrVersion and stays. A walk that finds fewer records than there are recovers the
// store.
func (s *Store) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		for p, err := range s.reader.records(ctx) {
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
				_ = s.reader.mend(ctx, p.key, err) // its own error comes with the next record
			}
		}
	}
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
	return &IOError{Op: op, Path: s.recovery.path, Err: err}
}
