// Package boltfile keeps records in a file of bbolt's that may be damaged. On such a file bbolt panics, faults on its
// map, descends for ever, asks for gigabytes, or gives an older state without a word; here each is a *Damage of the
// operation that met it. Open then sets the file aside, and makes a new one with what can still be read.
//
// bbolt is used through its public interface alone. One goroutine at a time may open, Update and Close a file; any
// number may read it.
package boltfile

import (
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

// File is an open, locked file.
type File struct {
	db   *bbolt.DB
	file *os.File // db's own
	flag int
	// Policies is how many there are, for who updates the file.
	Policies uint64
	mapped   int64 // bytes of the file that are surely in bbolt's map

	broken atomic.Pointer[Damage] // what was found first: the file is to be recovered
	cut    atomic.Bool            // a guard took the map away
	stuck  chan struct{}          // closed: bbolt panicked where it holds locks of its own, and they stay locked
	sticks func()                 // closes stuck
	new    bool                   // it is being made, by create
	sound  bool                   // the writer's: checkPages found no fault
	last   atomic.Uint64          // the number of the last commit
}

// Damage: the file is not as bbolt wrote it, or cannot be read. Open it again with this.
type Damage struct{ What string }

// Error implements error.
func (d *Damage) Error() string { return d.What }

func damaged(format string, args ...any) error { return &Damage{fmt.Sprintf(format, args...)} }

// Refusal: another process has the file open, or a newer stsmapd wrote it. Nothing was touched. The caller gives up; an
// administrator does what the text says.
type Refusal struct{ what string }

// Error implements error.
func (r *Refusal) Error() string { return r.what }

// As returns the first error of a type in err's chain.
func As[E error](err error) (found E, ok bool) { ok = errors.As(err, &found); return found, ok }

// openFile lets bbolt open and lock a file, flag is os.O_RDWR (|os.O_CREATE|os.O_EXCL) or os.O_RDONLY. The errors are
// those of the system, *Refusal and *Damage.
func openFile(path string, flag int) (f *File, err error) {
	file, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if err != nil {
			unlock(file)
		}
	}()
	defer caught(&err)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		ReadOnly: flag == os.O_RDONLY, // then the list of free pages is not read
		Timeout:  lockPatience,
		// The list of free pages is kept in the file: each commit writes some bytes more, but opening need not read the
		// whole file. In memory it is an array, which gives out the first pages of the file that fit; bbolt's map gives
		// out any, and cuts up the free room until long records fit only at the end of a file that grows for ever.
		FreelistType: bbolt.FreelistArrayType,
		NoStatistics: true,
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return file, nil },
	})
	f = &File{db: db, file: file, flag: flag, stuck: make(chan struct{})}
	f.sticks = sync.OnceFunc(func() { close(f.stuck) })
	here, _ := f.State()
	switch {
	// it was locked, or set aside or replaced while we waited
	case err == berrors.ErrTimeout, err == nil && !here:
		return nil, &Refusal{"another process (" + holder(path) + ") has " + path + " open"}
	case err != nil && !isSystem(err):
		return nil, damaged("%v", err)
	case err != nil:
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f.mapped = info.Size()
	return f, nil
}

// Close waits for the transactions and closes the file.
func (f *File) Close() error {
	err := f.hold(f.db.Close)
	if _, ok := As[*Damage](err); ok {
		unlock(f.file) // the map stays; its memory is lost to us but costs no more than addresses
		return nil
	}
	return err
}

// layout checks that the layout is one that is known, and that the last commit is there, and learns how many policies
// there are.
func (f *File) layout() (err error) {
	var id uint64
	err = f.transact(false, func(tx *bbolt.Tx) error {
		if id = uint64(tx.ID()); f.flag != os.O_RDONLY && tx.Size() > f.mapped {
			return damaged("the file was cut: it has %d bytes of %d", f.mapped, tx.Size())
		}
		meta := tx.Bucket([]byte(bucketMeta))
		found, ok := record.DecodeNumber(keySchema, meta.Get([]byte(keySchema)))
		if ok && found > schema {
			return &Refusal{fmt.Sprintf("%s was written by a newer stsmapd (layout %d, this one knows %d): "+
				"run the newer one, or move the file and its snapshot away", f.file.Name(), found, schema)}
		}
		n, counted := record.DecodeNumber(keyCount, meta.Get([]byte(keyCount)))
		if f.Policies = n; !ok || !counted {
			return damaged("the number of its layout, or of its policies, is gone")
		}
		return nil
	})
	if err == nil && f.flag != os.O_RDONLY {
		f.mapped = math.MaxInt64 // from now on the map is as large as bbolt needs it
	}
	if err == nil {
		f.committed(id)
	}
	return err
}
