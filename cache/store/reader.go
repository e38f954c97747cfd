package store

import (
	"context"
	"errors"
	"iter"
	"log/slog"

	"github.com/stsmapd/stsmapd/cache/record"
)

// reader reads the open file, and has what it finds damaged put right.
type reader struct {
	recovery *recovery
	writer   *writer
	counts   *counts
	log      *slog.Logger
}

// records yields every record in the order of keys. If the file has not been replaced meanwhile, and there are fewer
// than there were, a part of the tree is not reached: that is damage.
func (r *reader) records(ctx context.Context) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		begin, found, from := r.counts.Load(), uint64(0), []byte{0}
		var first *handle
		for more := true; more; {
			var some []pair
			err := r.read(ctx, func(h *handle) (err error) {
				if first == nil {
					first = h
				}
				some, err = h.scan(from)
				more = len(some) > 0
				short := func() bool { return found+r.counts.Load().removed-begin.removed < begin.Policies }
				if err != nil || more || h != first || !short() {
					return err
				}
				// A removal that was seen may not be counted yet: it is when the writer has answered.
				if err := r.writer.submit(ctx, &op{}); err == nil && short() {
					return damaged("%d records are not found",
						begin.Policies-found-r.counts.Load().removed+begin.removed)
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
func (r *reader) read(ctx context.Context, look func(*handle) error) (err error) {
	for range maxTries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h, next := r.recovery.cur.Load(), error(nil)
		if h == nil {
			next = r.writer.submit(ctx, &op{})
		} else if err = look(h); isCorrupt(err) {
			c, _ := as[*record.CorruptError](err)
			next = r.mend(ctx, c.Key, c)
		} else if d, ok := as[*damage](err); ok {
			next = r.writer.submit(ctx, &op{broken: h, cause: d})
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
func (r *reader) mend(ctx context.Context, key string, cause error) error {
	o := &op{kind: opMend, key: key}
	n := 0
	for k, value := range readSnapshot(r.recovery.snapshot) {
		if n++; k == key {
			o.value, _ = record.Doubt(key, value)
			break
		}
	}
	if n > 0 && o.value == nil {
		o = &op{broken: r.recovery.cur.Load(), cause: &damage{cause.Error() + ", and the snapshot has none"}}
	}
	if err := r.writer.submit(ctx, o); err != nil {
		return err
	}
	if o.verdict == replaced || o.verdict == removed {
		r.log.Warn("a policy's record in the store was damaged: the policy is looked up before it is answered again; "+
			"if "+
			"this happens again, check the disk",
			"event", "store_record_dropped", "domain", key, "path", r.recovery.path, "error", cause)
	}
	return nil
}
