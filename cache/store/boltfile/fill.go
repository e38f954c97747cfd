package boltfile

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// Bounds: on what a new file gets in one commit, and on how long a damaged file is read, with how much of it in each
// second more.
const (
	maxPending      = 4096
	maxPendingBytes = 8 << 20
	salvageTime     = time.Second
	salvageRate     = 64 << 20
)

// create makes a new file with all that an old one, which is damaged (nil: cannot be read), and the rest have, and
// returns how many policies that are. Of two records of one domain the one that was fetched later stays, and else the
// first. It syncs at the end alone: nobody knows the file before.
func create(path string, old *File, rest iter.Seq2[string, []byte]) (policies uint64, err error) {
	_ = os.Remove(path) // of a recovery that was cut short
	to, err := openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return 0, err
	}
	to.db.NoSync, to.new = true, true
	err = to.transact(true, func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket([]byte(bucketMeta))
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket([]byte(bucketPolicies))
		return errors.Join(err, meta.Put([]byte(keySchema), record.EncodeNumber(keySchema, schema)), to.seal(tx, 0))
	})
	var pending []*Change
	size := 0
	flush := func() {
		if err == nil {
			_, err = to.Update(pending)
		}
		pending, size = pending[:0], 0
	}
	for key, value := range remains(old, rest) {
		pending, size = append(pending, &Change{Key: key, Value: value, Wanted: func(before []byte) bool {
			return before == nil || record.Newer(key, value, before)
		}}), size+len(value)
		if len(pending) >= maxPending || size >= maxPendingBytes {
			flush()
		}
		if err != nil {
			break
		}
	}
	flush()
	if err == nil {
		err = to.db.Sync()
	}
	return to.Policies, errors.Join(err, to.Close())
}

// remains yields the sound records of a damaged file and of the rest, with the mark that they may not be the last of
// their domains.
func remains(old *File, rest iter.Seq2[string, []byte]) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		doubt := func(key string, value []byte) bool {
			value, err := record.Doubt(key, value)
			return err != nil || yield(key, value)
		}
		if old == nil || salvage(old, doubt) {
			rest(doubt)
		}
	}
}

// salvage yields what bbolt's cursor still gives of a damaged file, which may not be the last version of each record,
// and reports whether yield wants more. Where the cursor can go no further it goes on at a key further behind, nearer
// ones first.
func salvage(f *File, yield func(string, []byte) bool) bool {
	read, end := int64(0), time.Now().Add(salvageTime+time.Duration(f.mapped/salvageRate)*time.Second)
	last, near := "", 1 // near: up to where the last two keys differ, which is how near the next one can be
	for from := []byte{0}; len(from) > 0 && time.Now().Before(end) && read <= f.mapped; {
		some, damaged := f.Scan(from)
		for _, p := range some {
			if !yield(p.Key, p.Value) {
				return false
			}
			for near = 0; near < min(len(last), len(p.Key)-1) && last[near] == p.Key[near]; near++ {
			}
			last, near = p.Key, near+1
			read, from = read+int64(len(p.Value)), append([]byte(p.Key), 0)
		}
		if len(some) == 0 && damaged == nil {
			break // the end
		} else if len(some) == 0 {
			from = beyond(from[:min(near, len(from))])
		}
	}
	return true
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
