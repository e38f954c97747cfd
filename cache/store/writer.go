package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// One goroutine writes. It takes whatever operations wait, makes them one commit, and answers each; while it waits for
// the disk, the next ones gather. So an operation that is alone is written at once, and a thousand cost hardly more
// than one.

// Bounds on one commit.
const (
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
)

// opKind is what is asked of the writer.
type opKind uint8

const (
	opReady  opKind = iota // that there be an open file, another than a broken one
	opPut                  // a record
	opDelete               // a record, whatever it is
	opMend                 // a record that is damaged: put another or none in its place
)

// verdict is what an operation did to the record that it found.
type verdict uint8

const (
	kept  verdict = iota // as it is; for opPut: it is the same
	stale                // as it is: it was fetched later
	added
	replaced
	removed
)

// op is an operation waiting for the writer. verdict is for the submitter once it was answered.
type op struct {
	ctx  context.Context
	kind opKind
	done chan error

	key              string
	value            []byte // opPut, opMend (nil: none)
	fetched, checked int64  // milliseconds since 1970 UTC

	broken *handle // opReady: nothing is done when another is in its place already
	cause  *damage

	verdict verdict
}

// submit hands an operation to the writer and waits for the answer.
func (s *Store) submit(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.ctx, o.done = ctx, make(chan error, 1)
	select {
	case s.ops <- o:
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer.
func (s *Store) write() {
	for {
		var batch []*op
		select {
		case o := <-s.ops:
			batch = append(batch, o)
		case <-s.closing:
			return
		}
		for size, waits := len(batch[0].value), true; waits && len(batch) < maxBatch && size < maxBatchBytes; {
			select {
			case o := <-s.ops:
				batch = append(batch, o)
				size += len(o.value)
			default:
				waits = false
			}
		}
		err := s.commit(batch)
		if err != nil {
			s.note(func(n *Stats) {
				for _, o := range batch {
					if o.kind == opPut || o.kind == opDelete {
						n.WriteErrors++
					}
				}
			})
		}
		for _, o := range batch {
			o.done <- err
		}
	}
}

// errUnchanged: no operation of a batch changes anything. Nothing is written.
var errUnchanged = errors.New("nothing to write")

// commit makes a batch one commit. A file that is damaged is recovered, and the batch tried again.
func (s *Store) commit(batch []*op) (err error) {
	for range maxTries {
		h, writes, err := s.current(batch)
		if err != nil || !writes {
			return err
		}
		after := *s.stats.Load()
		err = h.transact(true, func(tx *bbolt.Tx) error {
			policies, written := tx.Bucket([]byte(bucketPolicies)), false
			for _, o := range batch {
				if err := o.apply(policies, &after); err != nil {
					return err
				}
				written = written || o.verdict >= added
			}
			if !written {
				return errUnchanged
			}
			if err := h.checkPages(tx); err != nil {
				return err
			}
			after.Commits++
			meta := tx.Bucket([]byte(bucketMeta))
			return errors.Join(addRoom(meta), meta.Put([]byte(keyCount), record.EncodeNumber(keyCount, after.Policies)))
		})
		if err == nil || errors.Is(err, errUnchanged) {
			s.stats.Store(&after)
			return nil
		}
		if d, ok := as[*damage](err); ok {
			if err := s.heal(h, d); err != nil {
				return err
			}
		} else {
			// what bbolt keeps in memory may be ahead of the file now, or its map gone: it is opened again from the
			// file
			s.note(func(n *Stats) { n.CommitErrors++ })
			s.cur.Store(nil)
			_ = h.close()
			return err
		}
	}
	return err
}

// apply carries out an operation on the bucket of records, and counts it.
func (o *op) apply(policies *bbolt.Bucket, n *Stats) (err error) {
	if o.verdict = kept; o.kind == opReady || o.ctx.Err() != nil {
		return nil
	}
	key := []byte(o.key)
	old := policies.Get(key)
	changed := true // the policy, not only what is noted of its use
	switch {
	case o.kind == opPut && old == nil:
		o.verdict = added
		n.Policies++
	case o.kind == opPut && !bytes.Equal(old, o.value):
		// What was fetched earlier never replaces what was fetched later, except what a clock that ran ahead wrote
		// (resolver.Store).
		fetched, err := record.Fetched(o.key, old)
		at := fetched.UnixMilli()
		if o.verdict = replaced; err == nil && o.fetched < at && at <= o.checked {
			o.verdict = stale
			n.Stale++
		}
		changed = err != nil || o.fetched != at
	case o.kind == opDelete && old != nil:
		o.verdict = removed
	case o.kind == opMend && old != nil:
		if _, err := record.Decode(o.key, old); isCorrupt(err) {
			n.CorruptRecords++
			if o.verdict = replaced; o.value == nil {
				o.verdict = removed
			}
		}
	}
	switch o.kind {
	case opPut:
		n.Puts++
	case opDelete:
		n.Deletes++
	}
	switch {
	case o.verdict == kept && old == nil:
		if k, _ := policies.Cursor().Seek(key); bytes.Equal(k, key) {
			return damaged("the record of %s is not where it is looked for, or no record", o.key)
		}
	case o.verdict <= stale:
		return nil
	case o.verdict == removed:
		n.Policies--
		n.removed++
		err = policies.Delete(key)
	default:
		err = policies.Put(key, o.value)
	}
	if changed && o.verdict > stale {
		n.changed++
	}
	if err != nil {
		return damaged("writing the record of %s: %v", o.key, err)
	}
	return nil
}

// current returns the open file, ready for a batch, and whether the batch writes. It opens the store again after a
// failure, and when somebody moved the file away: what is written to a file without a name would be gone with the
// process.
func (s *Store) current(batch []*op) (h *handle, writes bool, err error) {
	for _, o := range batch {
		if o.broken != nil && o.broken == s.cur.Load() {
			if err := s.heal(o.broken, o.cause); err != nil {
				return nil, false, err
			}
		}
		writes = writes || o.kind != opReady
	}
	if h = s.cur.Load(); h != nil {
		here := isAt(h.file, s.path)
		if here && !(writes && h.readOnly) {
			return h, writes, nil
		}
		if s.cur.Store(nil); !here {
			s.moved()
		}
		_ = h.close()
	}
	err = s.open()
	if !writes && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// the disk has become read-only, as disks do that fail: what the store holds is still answered
		err = s.use(os.O_RDONLY)
	}
	return s.cur.Load(), writes, err
}

// moved tells that the file was moved away.
func (s *Store) moved() {
	s.renew()
	s.log.Warn("the policy store's file was removed or replaced while it was in use; stsmapd goes on with what is "+
		"there now, "+
		"and puts what it has in memory into it", "event", "store_replaced", "path", s.path)
}
