package store

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/boltfile"
)

// Bounds on one commit.
const (
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
)

// op is an operation waiting for the writer. Without a Wanted it is that there be an open file, and no damaged one.
type op struct {
	boltfile.Change
	ctx  context.Context
	done chan error
	n    *Stats // for Wanted to count in
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
	cur     atomic.Pointer[boltfile.File]
	lastCut time.Time // when a file was left because its map was taken away
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
			if size += len(o.Value); o.Wanted != nil {
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

// commit makes a batch one commit. A file that is damaged is recovered, and the batch tried again.
func (w *writer) commit(batch []*op, writes bool) (err error) {
	for range maxTries {
		f, failed := w.ready(writes)
		if failed != nil || !writes {
			return failed
		}
		after, changes := *w.counts.Load(), []*boltfile.Change(nil)
		for _, o := range batch {
			if o.n = &after; o.Wanted != nil && o.ctx.Err() == nil {
				changes = append(changes, &o.Change)
			}
		}
		made := false
		if made, err = f.Update(changes); err == nil {
			if after.Policies = f.Policies; made {
				after.Commits++
			}
			w.counts.Store(&after)
			return nil
		}
		if _, ok := boltfile.As[*boltfile.Damage](err); !ok {
			w.counts.note(func(n *Stats) { n.CommitErrors++ })
			w.cur.Store(nil)
			_ = f.Close()
			return err
		}
	}
	return err
}

// ready returns the open file, and one that can be written where that is asked for. It opens the store again after a
// failure, when it was found damaged, and when somebody moved the file away: what is written to a file without a name
// would be gone with the process.
func (w *writer) ready(writes bool) (*boltfile.File, error) {
	f := w.cur.Load()
	if f == nil {
		return w.open(nil, writes)
	}
	here, broken := f.State()
	if here && broken == nil && !(writes && f.ReadOnly()) {
		return f, nil
	}
	w.cur.Store(nil)
	_ = f.Close() // whatever it says, this file is not used again
	if broken != nil {
		defer debug.FreeOSMemory() // a damaged length may have made bbolt ask for gigabytes
	}
	switch {
	case !here:
		broken = nil
		w.moved()
	case f.Cut() && time.Since(w.lastCut) > time.Minute: // it may be sound
		broken, w.lastCut = nil, time.Now()
	}
	return w.open(broken, writes)
}
