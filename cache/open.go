package cache

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
)

// open returns the store's file ready for use, whatever state the last run left it in: not there, empty, sound, damaged (then
// it is healed), or in the middle of a healing. The errors are *LockedError, *SchemaError and those of the system.
func (b *Bolt) open() (*handle, error) {
	f, err := openLocked(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b.adopt()
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		// Created, but a crash came before anything was written: nothing is lost.
		defer unlock(f)
		return b.install(nil)
	}
	h, err := b.use(f, boltOptions(f))
	if d := (*damage)(nil); errors.As(err, &d) {
		return b.heal(d)
	}
	if err == nil {
		_ = os.Remove(b.newPath()) // of a healing that was cut short
	}
	return h, err
}

// openToRead is for a store in use whose disk has become read-only, as disks do that fail: what it holds is still answered.
func (b *Bolt) openToRead() (*handle, error) {
	f, err := openLockedFor(b.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return b.use(f, readOnlyOptions(f))
}

// use makes a handle of a locked file that is not empty. On an error the file is closed.
func (b *Bolt) use(f *os.File, o *bbolt.Options) (*handle, error) {
	if _, err := checkFile(f); err != nil {
		unlock(f)
		return nil, err
	}
	h, err := newHandle(f, o)
	if err != nil {
		return nil, err
	}
	if err := b.checkSchema(h); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// checkSchema checks the layout, and learns how many policies there are.
func (b *Bolt) checkSchema(h *handle) error {
	found, ok, err := h.number(keySchema)
	switch {
	case err != nil:
		return err
	case !ok:
		return damaged("the layout's number is gone")
	case found > schema:
		return &SchemaError{b.path, found, schema}
	}
	count, ok, err := h.number(keyCount)
	if err == nil && !ok {
		count, err = h.count()
	}
	b.count.Store(count)
	return err
}

// count counts the records: slow, for when the number that is kept was damaged.
func (h *handle) count() (n uint64, err error) {
	err = h.policies(func(policies tree) error {
		return policies.scan(nil, func(element) bool { n++; return true })
	})
	return n, err
}

// The file that will take the place of the store's is made under another name: the store's name never has half a file.
func (b *Bolt) newPath() string { return b.path + ".new" }

// adopt is for when the store's name has no file: it is the first start, or a crash came between the two renames of a
// healing, and the new file lies ready.
func (b *Bolt) adopt() (*handle, error) {
	if err := makeDir(filepath.Dir(b.path)); err != nil { // it may have been removed while we ran
		return nil, err
	}
	f, err := openLocked(b.newPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b.install(nil)
	case err != nil:
		return nil, err
	}
	h, err := b.use(f, boltOptions(f))
	if d := (*damage)(nil); errors.As(err, &d) { // begun, not finished
		return b.install(nil)
	}
	if err == nil {
		err = h.close()
	}
	if err != nil {
		return nil, err
	}
	return b.moveIn()
}

// install makes a new file, has it filled, and moves it to the store's name. fill is nil for an empty store.
func (b *Bolt) install(fill func(*loader) error) (*handle, error) {
	if _, err := b.create(fill); err != nil {
		return nil, err
	}
	return b.moveIn()
}

// moveIn gives the new file the store's name, durably, and opens it.
func (b *Bolt) moveIn() (*handle, error) {
	if err := os.Rename(b.newPath(), b.path); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(b.path)); err != nil {
		return nil, err
	}
	f, err := openLocked(b.path)
	if err != nil {
		return nil, err
	}
	return b.use(f, boltOptions(f))
}

// create makes the new file, complete and synced, and returns how many records it has.
func (b *Bolt) create(fill func(*loader) error) (count uint64, err error) {
	name := b.newPath()
	_ = os.Remove(name) // of a healing that was cut short
	defer func() {
		if err != nil {
			_ = os.Remove(name) // it may be what fills the disk
		}
	}()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	h, err := newHandle(f, boltOptions(f))
	if err != nil {
		return 0, err
	}
	count, err = h.lay(fill)
	return count, errors.Join(err, h.close())
}

// lay writes the layout and what fill has into an empty file. One sync at the end is enough: nobody knows the file before.
func (h *handle) lay(fill func(*loader) error) (count uint64, err error) {
	h.db.NoSync = true
	defer func() {
		h.db.NoSync = false
		if r := recover(); r != nil {
			h.jammed.Store(true)
			err = panicked("writing a new file", r)
		}
	}()
	l := &loader{h: h}
	err = h.db.Update(func(tx *bbolt.Tx) error {
		metas, err := tx.CreateBucket([]byte(bucketMeta))
		if err != nil {
			return err
		}
		if err := metas.Put([]byte(keySchema), sealNumber(keySchema, schema)); err != nil {
			return err
		}
		_, err = tx.CreateBucket([]byte(bucketPolicies))
		return err
	})
	if err == nil && fill != nil {
		err = fill(l)
	}
	if err == nil {
		err = l.flush()
	}
	if err == nil {
		err = h.db.Sync()
	}
	return l.count, err
}

// loader fills a new file, many records to a commit.
type loader struct {
	h       *handle
	pending map[string][]byte
	bytes   int
	count   uint64
}

// Bounds on what a loader or a commit holds in memory.
const (
	maxLoad      = 4096
	maxLoadBytes = 8 << 20
)

// add takes a record. Of two records of one domain the one that was fetched later stays.
func (l *loader) add(key string, record []byte) error {
	if l.pending == nil {
		l.pending = map[string][]byte{}
	}
	if before, ok := l.pending[key]; !ok || newer(key, record, before) {
		l.pending[key] = record
		l.bytes += len(key) + len(record)
	}
	if len(l.pending) < maxLoad && l.bytes < maxLoadBytes {
		return nil
	}
	return l.flush()
}

// newer reports whether record was fetched after before. A record of a newer stsmapd does not tell, and stays.
func newer(key string, record, before []byte) bool {
	is, err := recordFetched(key, record)
	was, errBefore := recordFetched(key, before)
	return err == nil && errBefore == nil && is.After(was)
}

func (l *loader) flush() error {
	err := l.h.db.Update(func(tx *bbolt.Tx) error {
		policies := tx.Bucket([]byte(bucketPolicies))
		policies.FillPercent = 0.8 // records come in order
		for _, key := range slices.Sorted(maps.Keys(l.pending)) {
			record, before := l.pending[key], policies.Get([]byte(key))
			if before != nil && !newer(key, record, before) {
				continue
			}
			if err := policies.Put([]byte(key), record); err != nil {
				return err
			}
			if before == nil {
				l.count++
			}
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyCount), sealNumber(keyCount, l.count))
	})
	clear(l.pending)
	l.bytes = 0
	return err
}

// makeDir makes the store's directory, for its owner alone, and all above it that is missing, durably.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// syncDir makes a directory's names durable: without it a crash may take back a file that was created or renamed.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
