package boltfile

import (
	"bytes"
	"errors"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// seal finishes a writing transaction: it notes how many policies there are, if the file can bear a commit.
func (f *File) seal(tx *bbolt.Tx, policies uint64) error {
	if err := f.checkPages(tx); err != nil {
		return err
	}
	meta := tx.Bucket([]byte(bucketMeta))
	var err error
	// The room makes the meta bucket too large to be kept within another page: bbolt copies such a bucket into Go's
	// memory, and where it is damaged reads beyond the copy, which ends the process when the garbage collector meets a
	// pointer from there.
	if meta.Get([]byte(keyRoom)) == nil {
		err = meta.Put([]byte(keyRoom), make([]byte, f.db.Info().PageSize/4))
	}
	return errors.Join(err, meta.Put([]byte(keyCount), record.EncodeNumber(keyCount, policies)))
}

// checkPages looks at what each page says that it is and how many pages belong to it, before the first commit: bbolt
// frees as many as a page says, and a damaged one may say billions. It takes some tens of milliseconds for a million
// policies.
func (f *File) checkPages(tx *bbolt.Tx) error {
	pages := int(tx.Size()) / f.db.Info().PageSize
	for id := 0; id < pages && !f.sound; id++ {
		p, err := tx.Page(id)
		if err != nil || p == nil {
			return damaged("page %d of %d: %v", id, pages, err)
		}
		switch p.Type {
		case "free":
		case "meta", "freelist", "branch", "leaf":
			if id += p.OverflowCount; id >= pages {
				return damaged("page %d of %d says that %d more belong to it", p.ID, pages, p.OverflowCount)
			}
		default:
			return damaged("page %d is of the type %s", id, p.Type)
		}
	}
	f.sound = true
	return nil
}

// checkAround checks that what bbolt writes again together with a key are records, in their order: those on the same
// page and on the two beside it. Where a damaged length makes one look like gigabytes, bbolt would ask for as much
// memory to copy it.
func checkAround(policies *bbolt.Bucket, key []byte) error {
	const most = 4 // records on a page that is larger than one
	page := policies.Tx().DB().Info().PageSize
	c := policies.Cursor()
	for _, side := range []int{1, -1} {
		step, last := c.Next, key
		k, v := c.Seek(key)
		if side < 0 {
			step = c.Prev
			k, v = step()
		}
		for n, size := 0, 0; k != nil && (n < 2*most || size < 2*page); n++ {
			order := bytes.Compare(k, last)
			if v == nil || len(k) > maxKey || len(v) > record.MaxSize || order != side &&
				!(order == 0 && n == 0 && side > 0) {
				return damaged("what stands under %q is no record, or out of order", k[:min(len(k), maxKey)])
			}
			size, last = size+len(k)+len(v), k
			k, v = step()
		}
	}
	return nil
}
