package store

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// Bounds on one commit.
const (
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
)

// op is an operation waiting for the writer.
type op struct {
	ctx    context.Context
	done   chan error
	key    string
	value  []byte                               // what becomes the record under key; nil: there is none any more
	change func(old []byte, n *Stats) (do bool) // counts; nil: nothing but that there be an open file, a sound one
	did    bool                                 // for the submitter once it was answered
}

// writer is the goroutine that writes, and puts another file in the place of one that is damaged. It takes whatever
// operations wait, makes them one commit, and answers each; while it waits for the disk, the next ones gather. So an
// operation that is alone is written at once, and a thousand cost hardly more than one.
type writer struct {
	path, snapshot string
	log            *slog.Logger
	counts         counts
	ops            chan *op
	closing        chan struct{} // closed to end the goroutine
	renewed        chan struct{} // see Store.Renewed

	// cur is the open file, which anybody may read; nil while it is being recovered, and after a failure until the next
	// operation. It can only be read after a failure on a disk that has become read-only.
	cur     atomic.Pointer[handle]
	lastCut time.Time // when a handle was left because a guard took its map away
}

// submit hands an operation to the writer and waits for the answer.
func (w *writer) submit(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.ctx, o.done = ctx, make(chan error, 1)
	select {
	case w.ops <- o:
	case <-w.closing:
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

// run is the goroutine that writes, until the store is closed.
func (w *writer) run() {
	for {
		var batch []*op
		select {
		case o := <-w.ops:
			batch = append(batch, o)
		case <-w.closing:
			return
		}
		writes, size := uint64(0), 0
		for more := true; more; {
			o := batch[len(batch)-1]
			if size += len(o.value); o.change != nil {
				writes++
			}
			if more = len(batch) < maxBatch && size < maxBatchBytes; more {
				select {
				case o = <-w.ops:
					batch = append(batch, o)
				default:
					more = false
				}
			}
		}
		err := w.commit(batch, writes > 0)
		if err != nil {
			w.counts.note(func(n *Stats) { n.WriteErrors += writes })
		}
		for _, o := range batch {
			o.done <- err
		}
	}
}

// errUnchanged: no operation of a batch changes anything. Nothing is written.
var errUnchanged = errors.New("nothing to write")

// commit makes a batch one commit. A file that is damaged is recovered, and the batch tried again.
func (w *writer) commit(batch []*op, writes bool) (err error) {
	for range maxTries {
		h, failed := w.ready(writes)
		if failed != nil || !writes {
			return failed
		}
		after := *w.counts.Load()
		err = h.transact(true, func(tx *bbolt.Tx) error { return apply(h, tx, batch, &after) })
		if err == nil || errors.Is(err, errUnchanged) {
			w.counts.Store(&after)
			return nil
		}
		if _, ok := as[*damage](err); !ok {
			// What bbolt keeps in memory may be ahead of the file now, or its map gone: it is opened again.
			w.counts.note(func(n *Stats) { n.CommitErrors++ })
			w.cur.Store(nil)
			_ = h.close()
			return err
		}
	}
	return err
}

// apply carries out a batch in a transaction, and counts it.
func apply(h *handle, tx *bbolt.Tx, batch []*op, n *Stats) (err error) {
	policies, did := tx.Bucket([]byte(bucketPolicies)), false
	for _, o := range batch {
		if o.did = false; o.change == nil || o.ctx.Err() != nil {
			continue
		}
		key := []byte(o.key)
		if err := checkAround(policies, key); err != nil {
			return err
		}
		old := policies.Get(key)
		if o.did = o.change(old, n); !o.did {
			continue
		}
		if did = true; o.value == nil {
			n.Policies--
			n.removed++
			err = policies.Delete(key)
		} else {
			err = policies.Put(key, o.value)
			if old == nil {
				n.Policies++
			}
		}
		if err != nil {
			return damaged("writing the record of %s: %v", o.key, err)
		}
	}
	if !did {
		return errUnchanged
	}
	n.Commits++
	return h.seal(tx, n.Policies)
}
