// Package store keeps policies in a file for the next start, and beside it a snapshot of the same records.
//
// A domain that publishes an MTA-STS policy asks senders to remember it for max_age, often months (RFC 8461 section
// 3.2), and that memory is the whole protection: an attacker who can drop or forge DNS answers can hide a policy from a
// sender that never saw it, but not from one that remembers. So a policy that was learnt must outlive a restart, a
// crash, a full disk and a damaged file, as far as a disk allows.
//
// The file is bbolt's (package boltfile). One goroutine writes: what waits at the same time shares one commit
// (writer.go). bbolt's pages carry no checksum, so each record has one over its key and itself; one that fails counts
// as absent (reader.go). policies.snapshot is a stream of the same records (snapshots.go). When bbolt cannot open, read
// or write its file, the file is set aside, and a new one is filled from what bbolt still reads of it, from the
// snapshot and from memory (recovery.go).
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/boltfile"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// ErrClosed: the store was closed. Ask no more.
var ErrClosed = errors.New("it is closed")

// Store is a resolver.Store in one file, for one process. Its errors say what the store was asked and the cause, a
// *fs.PathError or syscall.Errno where the disk is full or failing: the store stays usable, and the caller goes on with
// what it has in memory and tries again later. After a failed Put or Delete the store holds the entry of before or the
// new one, never a mixture. It recovers from a damaged file by itself, also while it runs.
type Store struct {
	*writer
	snapshots *snapshots
	running   sync.WaitGroup
	close     func() error
}

var _ resolver.Store = (*Store)(nil)

// Open opens the store at path, or begins one, with its directory. It takes a second at most when another process has
// it open, and else a few milliseconds, however many policies there are; recovering a damaged file takes some seconds
// for a million. An error says what an administrator should do. Close it after use. What happens to the file is logged
// to log; nil: nowhere.
func Open(path string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &writer{path: path, log: log,
		ops: make(chan *op), closing: make(chan struct{}), renewed: make(chan struct{}, 1)}
	w.counts.Store(&Stats{})
	s := &Store{writer: w}
	path, err := filepath.Abs(path)
	if err == nil {
		w.path, w.snapshot = path, strings.TrimSuffix(path, filepath.Ext(path))+".snapshot"
		_, err = w.open(nil, true)
	}
	if err != nil {
		return nil, s.fault("open", err)
	}
	s.snapshots = newSnapshots(s)
	stop := make(chan struct{})
	s.running.Go(w.run)
	s.running.Go(func() {
		s.snapshots.keep(stop)
		close(w.closing)
	})
	s.close = sync.OnceValue(func() (err error) {
		close(stop)
		s.running.Wait()
		if f := w.cur.Swap(nil); f != nil {
			err = f.Close()
		}
		return err
	})
	return s, nil
}

// Close writes a snapshot where a policy has changed, waits for the commit in progress, answers ErrClosed to all that
// still wait, and closes the file. More calls do nothing.
func (s *Store) Close() error { return s.fault("close", s.close()) }

// Renewed tells that the store may lack what it had: its file was damaged, removed or replaced. Who still has it in
// memory should put it again.
func (s *Store) Renewed() <-chan struct{} { return s.renewed }

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
	err = s.read(ctx, func(f *boltfile.File) (err error) {
		e, err = f.Find(domain.String())
		return err
	})
	switch {
	case err == nil:
		return e, nil
	case errors.Is(err, resolver.ErrNotCached), errors.Is(err, record.ErrVersion), boltfile.IsCorrupt(err):
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
		return s.fault("put", err)
	}
	fetched, checked, o := e.Fetched.UnixMilli(), e.Checked.UnixMilli(), &op{}
	o.Key, o.Value, o.Wanted = e.Domain.String(), value, func(old []byte) bool {
		o.n.Puts++
		before, err := record.Fetched(o.Key, old)
		at := before.UnixMilli()
		switch {
		case bytes.Equal(old, value):
			return false
		case err == nil && fetched < at && at <= checked:
			// What was fetched earlier never replaces what was fetched later, except what a clock that ran ahead wrote
			// (resolver.Store).
			o.n.Stale++
			return false
		}
		if err != nil || fetched != at {
			o.n.changed++
		}
		return true
	}
	return s.fault("put", s.submit(ctx, o))
}

// Delete implements resolver.Store.
func (s *Store) Delete(ctx context.Context, domain dnsname.Name) error {
	o := &op{}
	o.Key, o.Wanted = domain.String(), func(old []byte) bool {
		if o.n.Deletes++; old == nil {
			return false
		}
		o.n.removed++
		o.n.changed++
		return true
	}
	return s.fault("delete", s.submit(ctx, o))
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
			e, err := record.Decode(p.Key, p.Value)
			if err != nil {
				e.Domain, _ = dnsname.Parse(p.Key)
				err = fmt.Errorf("policy store: %w", err)
			}
			if !yield(e, err) {
				return
			}
			if boltfile.IsCorrupt(err) {
				_ = s.mend(ctx, p.Key, err) // its own error comes with the next record
			}
		}
	}
}

// fault says what the store was asked when an error happened.
func (s *Store) fault(op string, err error) error {
	if _, refused := boltfile.As[*boltfile.Refusal](err); refused || err == nil {
		return err
	}
	return fmt.Errorf("policy store %s: %s: %w", s.path, op, err)
}
