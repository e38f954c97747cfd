package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
)

// The layout of the store's file, schema 1: two buckets. "policies" has a record under each policy domain. "meta" has
// numbers: the schema, and how many policies there are, so that nobody has to count a million.
const (
	schema         = 1
	bucketMeta     = "meta"
	bucketPolicies = "policies"
	keySchema      = "schema"
	keyCount       = "count"
	keyRoom        = "room" // zeros
)

// handle is bbolt on an open, locked file, for one writer and any number of readers. On a damaged file bbolt panics,
// faults on its map, or descends for ever; each becomes a *damage of the operation that met it.
type handle struct {
	db     *bbolt.DB
	file   *os.File // db's own
	flag   int
	mapped int64 // bytes of the file that are surely in bbolt's map

	broken atomic.Pointer[damage] // what was found first: the file is to be recovered
	cut    atomic.Bool            // a guard took the map away
	stuck  chan struct{}          // closed: bbolt panicked where it holds locks of its own, and they stay locked
	sticks func()                 // closes stuck
	sound  bool                   // the writer's: checkPages found no fault
	last   atomic.Uint64          // the number of the last commit
}

// damage: the file is not as bbolt wrote it, or cannot be read. Recover the store.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

func damaged(format string, args ...any) error { return &damage{fmt.Sprintf(format, args...)} }

// refusal: another process has the file open, or a newer stsmapd wrote it. Nothing was touched. The caller gives up; an
// administrator does what the text says.
type refusal struct{ what string }

func (r *refusal) Error() string { return r.what }

// as returns the first error of a type in err's chain.
func as[E error](err error) (found E, ok bool) { ok = errors.As(err, &found); return found, ok }

// openHandle lets bbolt open and lock a file, flag is os.O_RDWR (|os.O_CREATE|os.O_EXCL) or os.O_RDONLY. The errors are
// those of the system, *refusal and *damage.
func openHandle(path string, flag int) (h *handle, err error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
		if err != nil {
			unlock(f)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		ReadOnly: flag == os.O_RDONLY, // then the list of free pages is not read
		Timeout:  lockPatience,
		// The list of free pages is kept in the file: each commit writes some bytes more, but opening need not read the
		// whole file. In memory it is an array, which gives out the first pages of the file that fit; bbolt's map gives
		// out any, and cuts up the free room until long records fit only at the end of a file that grows for ever.
		FreelistType: bbolt.FreelistArrayType,
		NoStatistics: true,
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	switch {
	// it was locked, or set aside or replaced while we waited
	case err == berrors.ErrTimeout, err == nil && !isAt(f, path):
		return nil, &refusal{"another process (" + holder(path) + ") has " + path + " open"}
	case err != nil && !isSystem(err):
		return nil, damaged("%v", err)
	case err != nil:
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	h = &handle{db: db, file: f, flag: flag, mapped: info.Size(), stuck: make(chan struct{})}
	h.sticks = sync.OnceFunc(func() { close(h.stuck) })
	return h, nil
}

// close waits for the transactions and closes the file.
func (h *handle) close() error {
	err := h.hold(h.db.Close)
	if _, ok := as[*damage](err); ok {
		unlock(h.file) // the map stays; its memory is lost to us but costs no more than addresses
		return nil
	}
	return err
}

// distrust has the file recovered by the writer, if there is a damage.
func (h *handle) distrust(d *damage) {
	if h != nil && d != nil {
		h.broken.CompareAndSwap(nil, d)
	}
}

// hold calls what takes bbolt's locks or gives them back, which may have to wait for others that do. When one panics
// there they stay locked, and nobody may wait for them, or come near them again: so the call has a goroutine of its
// own, that can be left.
func (h *handle) hold(call func() error) error {
	done := make(chan error, 1)
	select {
	case <-h.stuck:
	default:
		go func() {
			debug.SetPanicOnFault(true)
			defer func() {
				if r := recover(); r != nil {
					h.sticks()
					done <- panicked(r)
				}
			}()
			done <- call()
		}()
	}
	select {
	case err := <-done:
		return err
	case <-h.stuck:
		return damaged("bbolt panicked, and holds its locks")
	}
}

// transact calls work in a transaction, which is committed if it is a writing one and work returns nil. What work takes
// from the file it must copy. The errors are *damage, work's, of a commit those of the system, and
// berrors.ErrDatabaseNotOpen: another handle takes the place of this one, try again with it.
func (h *handle) transact(writable bool, work func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
		d, _ := as[*damage](err)
		h.distrust(d)
	}()
	last := h.last.Load()
	var tx *bbolt.Tx
	if err := h.hold(func() (err error) { tx, err = h.db.Begin(writable); return err }); err != nil {
		return err
	}
	defer h.hold(func() error { return tx.Rollback() }) // after a commit there is none any more
	id := uint64(tx.ID())
	found := id
	if writable {
		found-- // id is that of the commit to come
	}
	if found < last {
		return damaged("the last commit is gone, or this is an older copy: commit %d instead of %d", found, last)
	}
	err = func() error {
		defer watch(h, tx).stop()
		return work(tx)
	}()
	if err == nil && writable {
		if err = h.commit(tx); err == nil {
			h.committed(id)
		}
	}
	return err
}

// commit waits for the locks of readers where the map must grow, so it can be left. After a panic of its own the
// transaction can still be rolled back.
func (h *handle) commit(tx *bbolt.Tx) error {
	return h.hold(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = panicked(r)
			}
		}()
		return tx.Commit()
	})
}

// layout checks that the layout is one that is known, and that the last commit is there, and returns how many policies
// there are.
func (h *handle) layout() (policies uint64, err error) {
	if h.flag == os.O_RDWR {
		h.last.Store(lastCommit(h.file.Name()))
	}
	var id uint64
	err = h.transact(false, func(tx *bbolt.Tx) error {
		if id = uint64(tx.ID()); h.flag != os.O_RDONLY && tx.Size() > h.mapped {
			return damaged("the file was cut: it has %d bytes of %d", h.mapped, tx.Size())
		}
		meta := tx.Bucket([]byte(bucketMeta))
		found, ok := record.DecodeNumber(keySchema, meta.Get([]byte(keySchema)))
		if ok && found > schema {
			return &refusal{fmt.Sprintf("%s was written by a newer stsmapd (layout %d, this one knows %d): "+
				"run the newer one, or move the file and its snapshot away", h.file.Name(), found, schema)}
		}
		n, counted := record.DecodeNumber(keyCount, meta.Get([]byte(keyCount)))
		if policies = n; !ok || !counted {
			return damaged("the number of its layout, or of its policies, is gone")
		}
		return nil
	})
	if err == nil && h.flag != os.O_RDONLY {
		h.mapped = math.MaxInt64 // from now on the map is as large as bbolt needs it
	}
	if err == nil {
		h.committed(id)
	}
	return policies, err
}

// find returns a domain's entry. That there is none (resolver.ErrNotCached) is believed only if its neighbours are in
// order and sound: a *record.CorruptError may be about a neighbour, which may be the one that was looked for, with a
// damaged key.
func (h *handle) find(key string) (e resolver.Entry, err error) {
	err = h.transact(false, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucketPolicies)).Cursor()
		next, v := c.Seek([]byte(key))
		if string(next) == key {
			e, err = record.Decode(key, v)
			return err
		}
		before, w := c.Prev()
		if next != nil && string(next) < key || before != nil && string(before) >= key ||
			len(next)+len(before) > 2*maxKey {
			return damaged("the keys around %q are out of order", key)
		}
		for _, n := range [...][2][]byte{{next, v}, {before, w}} {
			if _, err := record.Fetched(string(n[0]), n[1]); n[0] != nil && isCorrupt(err) {
				return err
			}
		}
		return resolver.ErrNotCached
	})
	return e, err
}

// isCorrupt reports whether an error says that a record fails its checksum, or makes no sense.
func isCorrupt(err error) bool {
	_, ok := as[*record.CorruptError](err)
	return ok
}

// Bounds on what one transaction reads, and more than the bytes of any domain's name.
const (
	scanRecords = 256
	scanBytes   = 1 << 20
	maxKey      = 255
)

// pair is a key with its record. They are copies.
type pair struct {
	key   string
	value []byte
}

// scan returns the next records, from a key on, in the order of keys. With an error it returns those before it.
func (h *handle) scan(from []byte) (found []pair, err error) {
	err = h.transact(false, func(tx *bbolt.Tx) error {
		c, size, least := tx.Bucket([]byte(bucketPolicies)).Cursor(), 0, string(from)
		for k, v := c.Seek(from); k != nil && len(found) < scanRecords && size < scanBytes; k, v = c.Next() {
			if string(k) < least || len(k) > maxKey {
				return damaged("the keys at %q are out of order", least)
			}
			if len(v) > record.MaxSize { // it may claim gigabytes
				v = nil
			}
			found = append(found, pair{string(k), bytes.Clone(v)})
			least = string(k) + "\x00"
			size += len(v)
		}
		return nil
	})
	return found, err
}
