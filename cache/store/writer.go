package store

import (
	"context"
	"errors"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// Bounds on one commit.
const (
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
)

// writer is the goroutine that writes. It takes whatever operations wait, makes them one commit, and answers each;
// while it waits for the disk, the next ones gather. So an operation that is alone is written at once, and a thousand
// cost hardly more than one.
type writer struct {
	recovery *recovery
	counts   *counts
	ops      chan *op
	closing  chan struct{} // closed to end the goroutine, and that of the snapshots
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
			batch = w.gather(o)
		case <-w.closing:
			return
		}
		err := w.commit(batch)
		if err != nil {
			w.counts.note(func(n *Stats) {
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

// gather returns an operation and those that wait with it, as far as one commit takes them.
func (w *writer) gather(o *op) []*op {
	batch, size := []*op{o}, len(o.value)
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case o := <-w.ops:
			batch, size = append(batch, o), size+len(o.value)
		default:
			return batch
		}
	}
	return batch
}

// errUnchanged: no operation of a batch changes anything. Nothing is written.
var errUnchanged = errors.New("nothing to write")

// commit makes a batch one commit. A file that is damaged is recovered, and the batch tried again.
func (w *writer) commit(batch []*op) (err error) {
	writes := false
	for _, o := range batch {
		writes = writes || o.kind != opReady
		if o.broken != nil && o.broken == w.recovery.cur.Load() {
			if err := w.recovery.heal(o.broken, o.cause); err != nil {
				return err
			}
		}
	}
	for range maxTries {
		h, err := w.recovery.ready(writes)
		if err != nil || !writes {
			return err
		}
		after := *w.counts.Load()
		err = h.transact(true, func(tx *bbolt.Tx) error { return applyAll(h, tx, batch, &after) })
		if err == nil || errors.Is(err, errUnchanged) {
			w.counts.Store(&after)
			return nil
		}
		if d, ok := as[*damage](err); !ok {
			// What bbolt keeps in memory may be ahead of the file now, or its map gone: it is opened again.
			w.counts.note(func(n *Stats) { n.CommitErrors++ })
			w.recovery.cur.Store(nil)
			_ = h.close()
			return err
		} else if err := w.recovery.heal(h, d); err != nil {
			return err
		}
	}
	return err
}

// applyAll carries out a batch in a transaction, and counts it.
func applyAll(h *handle, tx *bbolt.Tx, batch []*op, after *Stats) error {
	policies, written := tx.Bucket([]byte(bucketPolicies)), false
	for _, o := range batch {
		if err := o.apply(policies, after); err != nil {
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
}
