package store

import (
	"encoding/binary"
	"hash/fnv"
	"io"

	"go.etcd.io/bbolt"
)

// What is known here of bbolt's file: its first two pages are metas, of which each commit writes one, in turn. After
// the page's header stand the fields and then their checksum.
const (
	metas      = 2
	pageHeader = 16
	metaFields = 56
)

// checkMetas checks both metas. Where the newer one is damaged bbolt takes the other without a word, and with it what
// there was before the last commit: a policy that was replaced would be answered again.
func checkMetas(file io.ReaderAt, pageSize int) error {
	for i := range metas {
		var m [metaFields + 8]byte
		if _, err := file.ReadAt(m[:], int64(i*pageSize+pageHeader)); err != nil {
			return damaged("page %d: %v", i, err)
		}
		sum := fnv.New64a()
		_, _ = sum.Write(m[:metaFields])
		if sum.Sum64() != binary.NativeEndian.Uint64(m[metaFields:]) {
			return damaged("page %d does not match its checksum: the last commit may be gone", i)
		}
	}
	return nil
}

// checkPages looks at what each page says that it is and how many pages belong to it, before the first commit: bbolt
// frees as many as a page says, and a damaged one may say billions. It takes some tens of milliseconds for a million
// policies.
func (h *handle) checkPages(tx *bbolt.Tx) error {
	pages := int(tx.Size()) / h.db.Info().PageSize
	for id := 0; id < pages && !h.sound; id++ {
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
	h.sound = true
	return nil
}
