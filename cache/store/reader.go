package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/boltfile"
)

// records yields every record in the order of keys. If the file has not been replaced meanwhile, and there are fewer
// than there were, a part of the tree is not reached: that is damage.
func (s *Store) records(ctx context.Context) iter.Seq2[boltfile.Pair, error] {
	return func(yield func(boltfile.Pair, error) bool) {
		begin, found, from := s.counts.Load(), uint64(0), []byte{0}
		missing := func() int { return int(begin.Policies - found - s.counts.Load().removed + begin.removed) }
		var first *boltfile.File
		for {
			var some []boltfile.Pair
			err := s.read(ctx, func(h *boltfile.File) (err error) {
				if first == nil {
					first = h
				}
				some, err = h.Scan(from)
				if err != nil || len(some) > 0 || h != first || missing() <= 0 {
					return err
				}
				// A removal that was seen may not be counted yet: it is when the writer has answered.
				if err := s.submit(ctx, &op{}); err != nil || missing() <= 0 {
					return err
				}
				return &boltfile.Damage{What: fmt.Sprintf("%d records are not found", missing())}
			})
			if err != nil {
				yield(boltfile.Pair{}, err)
			}
			if err != nil || len(some) == 0 {
				return
			}
			for _, p := range some {
				if err := ctx.Err(); err != nil || !yield(p, nil) {
					if err != nil {
						yield(boltfile.Pair{}, err)
					}
					return
				}
				found, from = found+1, append([]byte(p.Key), 0)
			}
		}
	}
}

// maxTries bounds how often an operation is tried again because the file under it was recovered, or a record mended.
const maxTries = 4

// read calls look with the open file. What turns out to be damaged is put right, and look called again.
func (s *Store) read(ctx context.Context, look func(*boltfile.File) error) (err error) {
	for range maxTries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h, next := s.cur.Load(), error(nil)
		if err = nil; h != nil {
			err = look(h)
		}
		corrupt, isCorrupt := boltfile.As[*record.CorruptError](err)
		broken, isBroken := boltfile.As[*boltfile.Damage](err)
		h.Distrust(broken)
		switch {
		case isCorrupt:
			next = s.mend(ctx, corrupt.Key, corrupt)
		case h == nil, isBroken, boltfile.IsClosed(err):
			next = s.submit(ctx, &op{})
		default:
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
	o, all := &op{}, 0
	o.Key, o.Wanted = key, func(old []byte) bool {
		_, err := record.Decode(key, old)
		if old == nil || !boltfile.IsCorrupt(err) {
			return false
		}
		o.n.CorruptRecords++
		o.n.changed++
		if o.Value == nil {
			o.n.removed++
		}
		return true
	}
	for k, value := range readSnapshot(s.snapshot) {
		if all++; k == key {
			o.Value, _ = record.Doubt(key, value)
			break
		}
	}
	if all > 0 && o.Value == nil {
		s.cur.Load().Distrust(&boltfile.Damage{What: cause.Error() + ", and the snapshot has none"})
		o = &op{}
	}
	err := s.submit(ctx, o)
	if err == nil && o.Done {
		s.log.Warn("a policy's record in the store was damaged: the policy is looked up before it is answered again; "+
			"if this happens again, check the disk",
			"event", "store_record_dropped", "domain", key, "path", s.path, "error", cause)
	}
	return err
}
