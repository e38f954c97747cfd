package store

import (
	"bytes"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// refill fills a new file, many records to a commit.
type refill struct {
	to, old  *handle // old: the damaged file, to be read; nil: it cannot be
	pending  []pair
	bytes    int
	count    uint64 // of records in the new file
	expected uint64 // that there were, as far as is known
}

// Bounds: on what a refill holds in memory, and on how long a damaged file is read, with how much of it in each second
// more.
const (
	maxPending      = 4096
	maxPendingBytes = 8 << 20
	salvageTime     = time.Second
	salvageRate     = 64 << 20
)

// fill writes the layout and all records. It syncs at the end alone: nobody knows the file before.
func (r *refill) fill(snapshot string) error {
	r.to.db.NoSync = true
	err := r.to.transact(true, func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket([]byte(bucketMeta))
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket([]byte(bucketPolicies))
		return errors.Join(err, addRoom(meta), meta.Put([]byte(keySchema), record.EncodeNumber(keySchema, schema)))
	})
	if err == nil && r.old != nil {
		err = r.salvage()
	}
	for key, value := range readSnapshot(snapshot) {
		if err == nil {
			err = r.add(pair{key, value})
		}
	}
	if err == nil {
		err = r.flush()
	}
	if err == nil {
		err = r.to.db.Sync()
	}
	r.to.db.NoSync = false
	return err
}

// salvage adds what bbolt's cursor still gives of the damaged file, which may not be the last version of each record.
// Where it can go no further it goes on at a key further behind, nearer ones first. The error is the new file's.
func (r *refill) salvage() error {
	read, end := int64(0), time.Now().Add(salvageTime+time.Duration(r.old.mapped/salvageRate)*time.Second)
	last, near := "", 1 // near: up to where the last two keys differ, which is how near the next one can be
	for from := []byte{0}; len(from) > 0 && time.Now().Before(end) && read <= r.old.mapped; {
		some, damaged := r.old.scan(from)
		for _, p := range some {
			if err := r.add(p); err != nil {
				return err
			}
			for near = 0; near < min(len(last), len(p.key)-1) && last[near] == p.key[near]; near++ {
			}
			last, near = p.key, near+1
			read, from = read+int64(len(p.value)), append([]byte(p.key), 0)
		}
		switch {
		case len(some) > 0:
		case damaged == nil:
			return nil // the end
		default:
			from = beyond(from[:min(near, len(from))])
		}
	}
	return nil
}

// beyond returns a key above another: near ones first, then in longer steps, of the characters that names have; nil:
// there is none.
func beyond(key []byte) []byte {
	n := len(key)
	for n > 0 && key[n-1] >= 'z' {
		n--
	}
	if n == 0 {
		return nil
	}
	next := bytes.Clone(key[:n])
	next[n-1] = max('-', next[n-1]+1)
	return next
}

// add takes a record, if it is sound, with the mark that it may not be the last of its domain.
func (r *refill) add(p pair) (err error) {
	if p.value, err = record.Doubt(p.key, p.value); err != nil {
		return nil
	}
	r.pending = append(r.pending, p)
	if r.bytes += len(p.value); len(r.pending) < maxPending && r.bytes < maxPendingBytes {
		return nil
	}
	return r.flush()
}

// flush writes what is pending. Of two records of one domain the one that was fetched later stays, and else the first.
func (r *refill) flush() error {
	count := r.count
	err := r.to.transact(true, func(tx *bbolt.Tx) error {
		policies := tx.Bucket([]byte(bucketPolicies))
		policies.FillPercent = 0.8 // records come in order
		for _, p := range r.pending {
			before := policies.Get([]byte(p.key))
			if before == nil {
				count++
			} else if !record.Newer(p.key, p.value, before) {
				continue
			}
			if err := policies.Put([]byte(p.key), p.value); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyCount), record.EncodeNumber(keyCount, count))
	})
	r.pending, r.bytes, r.count = r.pending[:0], 0, count
	return err
}
