package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// The layout of the store's file, schema 1: two buckets. "policies" has a record (codec.go) under each policy domain. "meta" has
// sealed numbers: the schema, and how many policies there are, so that nobody has to count a million.
const (
	schema         = 1
	bucketMeta     = "meta"
	bucketPolicies = "policies"
	keySchema      = "schema"
	keyCount       = "count"
)

// sealNumber is a number with a checksum, in the frame of a record. Its form must stay the same in every schema.
func sealNumber(key string, n uint64) []byte {
	b := binary.LittleEndian.AppendUint64([]byte{recordMagic, 0, 0, 0, 0, 0}, n)
	seal(key, b)
	return b
}

// openNumber returns what sealNumber sealed, and whether it is unharmed.
func openNumber(key string, b []byte) (uint64, bool) {
	version, number, err := frame(key, b)
	if err != nil || version != 0 || len(number) != 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(number), true
}

// handle is the open file. It is for one writer and any number of readers.
type handle struct {
	db       *bbolt.DB
	file     *os.File // db's own
	pageSize int
	readOnly bool
	shelves  sync.Pool // of *shelf
	vetted   bool      // the writer's: the list of free pages was found true

	// jammed: bbolt panicked with its locks held. The handle cannot be closed, only left behind.
	jammed atomic.Bool
}

// boltOptions makes bbolt use a file that is open, locked and checked.
//
// The list of free pages is kept in the file: each commit writes some bytes more, but opening need not read the whole file to
// find the free pages. In memory it is an array, which gives out the first pages of the file that fit; bbolt's map gives out
// any, and cuts up the free room until long records, and the list itself, fit only at the end of a file that grows for ever.
func boltOptions(f *os.File) *bbolt.Options {
	return &bbolt.Options{
		Timeout:      lockPatience,
		FreelistType: bbolt.FreelistArrayType,
		NoStatistics: true,
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	}
}

// readOnlyOptions are for a file that was opened for reading alone.
func readOnlyOptions(f *os.File) *bbolt.Options {
	o := boltOptions(f)
	o.ReadOnly = true
	return o
}

// newHandle lets bbolt open a locked file that checkFile found sound, or an empty one. On an error the file is closed.
func newHandle(f *os.File, o *bbolt.Options) (h *handle, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked("opening", r)
		}
		if err != nil {
			unlock(f)
		}
	}()
	db, err := bbolt.Open(f.Name(), 0o600, o)
	if err != nil {
		return nil, err
	}
	return &handle{
		db: db, file: f, pageSize: db.Info().PageSize, readOnly: o.ReadOnly, shelves: sync.Pool{New: func() any { return new(shelf) }},
	}, nil
}

// panicked makes a panic of bbolt's, or a fault on its map, a damage.
func panicked(doing string, r any) error {
	if fault, ok := r.(interface{ Addr() uintptr }); ok {
		return damaged("%s: fault at address %#x: the file was cut, or the disk cannot be read", doing, fault.Addr())
	}
	return damaged("%s: %v", doing, r)
}

// close waits for the readers and closes the file.
func (h *handle) close() error {
	if h.jammed.Load() {
		unlock(h.file) // the map stays; its memory is lost to us but costs no more than addresses
		return nil
	}
	return h.db.Close()
}

// begin starts a transaction. bbolt reads the metas from its map with its locks held and panics when they make no sense, so
// they are looked at first.
func (h *handle) begin(writable bool) (*bbolt.Tx, error) {
	m, err := readMeta(h.file)
	if err == nil && m.pageSize != h.pageSize {
		err = damaged("the page size changed from %d to %d", h.pageSize, m.pageSize)
	}
	if err == nil && writable {
		err = h.checkWritable(m)
	}
	if err != nil {
		return nil, err
	}
	return h.beginUnchecked(writable)
}

// checkWritable looks at what bbolt goes by when it writes. While a commit is under way a reader may see half a meta: this is for
// the writer alone.
func (h *handle) checkWritable(m meta) error {
	if err := checkMetas(h.file, m); err != nil {
		return err
	}
	if !h.vetted {
		if err := vet(h.file, m); err != nil {
			return err
		}
		h.vetted = true
	}
	_, err := checkFreelist(h.file, m)
	return err
}

func (h *handle) beginUnchecked(writable bool) (tx *bbolt.Tx, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			h.jammed.Store(true)
			err = panicked("beginning", r)
		}
	}()
	return h.db.Begin(writable)
}

// end rolls back what was not committed.
func (h *handle) end(tx *bbolt.Tx) {
	defer func() {
		if r := recover(); r != nil {
			h.jammed.Store(true)
		}
	}()
	_ = tx.Rollback() // after a commit it says that there is none any more
}

// view calls read with one state of the file. The tree's bytes do not point into bbolt's map, they may be kept.
func (h *handle) view(read func(root tree) error) error { return h.viewOn(nil, read) }

// viewOn is view with the pages on a shelf: the tree's bytes are good until read returns.
func (h *handle) viewOn(s *shelf, read func(root tree) error) error {
	tx, err := h.begin(false)
	if err != nil {
		return err
	}
	defer h.end(tx)
	root, err := h.pagesOf(tx, s).openTree(pgid(tx.Cursor().Bucket().Root()))
	if err != nil {
		return err
	}
	return read(root)
}

func (h *handle) pagesOf(tx *bbolt.Tx, s *shelf) pages {
	return pages{h.file, h.pageSize, pgid(tx.Size() / int64(h.pageSize)), s}
}

// policies calls read with the bucket of records.
func (h *handle) policies(read func(policies tree) error) error { return h.policiesOn(nil, read) }

// record returns a copy of a domain's record, nil where there is none. Most questions for which the store is asked are about domains
// that it does not hold, so that takes no memory.
func (h *handle) record(key []byte) (record []byte, err error) {
	s := h.shelves.Get().(*shelf)
	defer h.shelves.Put(s)
	s.taken = 0
	err = h.policiesOn(s, func(policies tree) error {
		e, ok, err := policies.find(key)
		if ok {
			record = bytes.Clone(e.value)
		}
		return err
	})
	return record, err
}

func (h *handle) policiesOn(s *shelf, read func(policies tree) error) error {
	return h.viewOn(s, func(root tree) error {
		policies, ok, err := root.bucket(bucketPolicies)
		if err == nil && !ok {
			err = damaged("the bucket of policies is gone")
		}
		if err != nil {
			return err
		}
		return read(policies)
	})
}

// number returns a number of the meta bucket, and whether it is there and unharmed.
func (h *handle) number(key string) (n uint64, ok bool, err error) {
	err = h.view(func(root tree) error {
		metas, found, err := root.bucket(bucketMeta)
		if err != nil || !found {
			return err
		}
		e, found, err := metas.find([]byte(key))
		if found {
			n, ok = openNumber(key, e.value)
		}
		return err
	})
	return n, ok, err
}

// change is one record to write, or with a nil value to remove.
type change struct {
	key   string
	value []byte
}

// apply makes the changes and the new count one commit: after an error none or all of them took effect.
func (h *handle) apply(changes []change, count uint64) error {
	tx, err := h.begin(true)
	if err != nil {
		return err
	}
	defer h.end(tx)
	return commit(tx, changes, count)
}

// commit does so in a transaction. What bbolt panics about is damage.
func commit(tx *bbolt.Tx, changes []change, count uint64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked("writing", r)
		}
	}()
	policies, metas := tx.Bucket([]byte(bucketPolicies)), tx.Bucket([]byte(bucketMeta))
	if policies == nil || metas == nil {
		return damaged("a bucket is gone")
	}
	for _, c := range changes {
		if c.value == nil {
			err = policies.Delete([]byte(c.key))
		} else {
			err = policies.Put([]byte(c.key), c.value)
		}
		if err != nil {
			return err
		}
	}
	if err := metas.Put([]byte(keyCount), sealNumber(keyCount, count)); err != nil {
		return err
	}
	return tx.Commit()
}

// lockPatience is how long a file's lock is waited for: a stsmapd that is just ending has a chance to.
const lockPatience = time.Second

// openLocked opens a file that exists and takes its lock. The errors are those of the system and *LockedError.
func openLocked(path string) (*os.File, error) { return openLockedFor(path, os.O_RDWR) }

func openLockedFor(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	if err := lock(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func lock(f *os.File, path string) error {
	tick := time.NewTicker(lockPatience / 20)
	defer tick.Stop()
	end := time.NewTimer(lockPatience)
	defer end.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil && isAt(f, path):
			return nil
		case err == nil: // it was set aside, or replaced, while we waited
			return &LockedError{path}
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-tick.C:
		case <-end.C:
			return &LockedError{path}
		}
	}
}

// unlock closes a file and gives up its lock even if a memory map still holds on to it.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}

// isAt reports whether the open file is the one that path names.
func isAt(f *os.File, path string) bool {
	is, err1 := f.Stat()
	named, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(is, named)
}
