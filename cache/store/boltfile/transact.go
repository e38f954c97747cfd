package boltfile

import (
	"errors"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// Change is what one operation makes of a record.
type Change struct {
	Key    string
	Value  []byte                // the new record; nil: there is none any more
	Wanted func(old []byte) bool // whether to change the old one, nil: there is none; it must not keep old
	Done   bool                  // set by Update
}

// errUnchanged: nothing is to be written.
var errUnchanged = errors.New("unchanged")

// Update makes changes in one commit, none if none is wanted, and reports whether it made one. The errors are *Damage
// and those of the system: after these close the file, what bbolt keeps in memory may be ahead of it.
func (f *File) Update(changes []*Change) (made bool, err error) {
	policies := f.Policies
	err = f.transact(true, func(tx *bbolt.Tx) (err error) {
		records := tx.Bucket([]byte(bucketPolicies))
		if f.new {
			records.FillPercent = 0.8 // its records come in order
		}
		for _, c := range changes {
			key := []byte(c.Key)
			if !f.new {
				err = checkAround(records, key)
			}
			if err != nil {
				return err
			}
			old := records.Get(key)
			if c.Done = c.Wanted(old); !c.Done {
				continue
			}
			if made = true; old == nil {
				policies++
			}
			if c.Value == nil {
				policies--
				err = records.Delete(key)
			} else {
				err = records.Put(key, c.Value)
			}
			if err != nil {
				return damaged("writing the record of %s: %v", c.Key, err)
			}
		}
		if !made {
			return errUnchanged
		}
		return f.seal(tx, policies)
	})
	if err == errUnchanged {
		return false, nil
	}
	if err == nil {
		f.Policies = policies
	}
	return err == nil, err
}

// State reports whether the file still has its name, and what was found damaged in it; nil: nothing.
func (f *File) State() (here bool, broken *Damage) {
	is, err1 := f.file.Stat()
	named, err2 := os.Stat(f.file.Name())
	return err1 == nil && err2 == nil && os.SameFile(is, named), f.broken.Load()
}

// ReadOnly reports whether the file can only be read.
func (f *File) ReadOnly() bool { return f.flag == os.O_RDONLY }

// Cut reports whether the map was taken away because memory grew. That may have had another reason, while the disk was
// slow.
func (f *File) Cut() bool { return f.cut.Load() }

// Distrust has State report a damage, if there is one and none before.
func (f *File) Distrust(d *Damage) {
	if f != nil && d != nil {
		f.broken.CompareAndSwap(nil, d)
	}
}

// transact calls work in a transaction, which is committed if it is a writing one and work returns nil. What work takes
// from the file it must copy. The errors are *Damage, work's, of a commit those of the system, and
// berrors.ErrDatabaseNotOpen after Close.
func (f *File) transact(writable bool, work func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		d, _ := As[*Damage](err)
		f.Distrust(d)
	}()
	defer caught(&err)
	last := f.last.Load()
	var tx *bbolt.Tx
	if err := f.hold(func() (err error) { tx, err = f.db.Begin(writable); return err }); err != nil {
		return err
	}
	defer f.hold(func() error { return tx.Rollback() }) // after a commit there is none any more
	id := uint64(tx.ID())
	found := id
	if writable {
		found-- // id is that of the commit to come
	}
	if found < last {
		return damaged("the last commit is gone, or this is an older copy: commit %d instead of %d", found, last)
	}
	err = func() error {
		defer f.watch(tx).stop()
		return work(tx)
	}()
	if err == nil && writable {
		if err = f.hold(func() (err error) { defer caught(&err); return tx.Commit() }); err == nil {
			f.committed(id)
		}
	}
	return err
}

// hold calls what takes bbolt's locks or gives them back, which may have to wait for others that do. When one panics
// there they stay locked, and nobody may wait for them, or come near them again: so the call has a goroutine of its
// own, that can be left.
func (f *File) hold(call func() error) error {
	done := make(chan error, 1)
	select {
	case <-f.stuck:
	default:
		go func() {
			debug.SetPanicOnFault(true)
			defer func() {
				if r := recover(); r != nil {
					f.sticks()
					done <- panicked(r)
				}
			}()
			done <- call()
		}()
	}
	select {
	case err := <-done:
		return err
	case <-f.stuck:
		return damaged("bbolt panicked, and holds its locks")
	}
}

// guard watches a transaction that takes long. A page that is its own descendant lets bbolt descend for ever, until
// stack or memory end the process: where memory grows meanwhile the guard takes the map away, and the fault on it ends
// the descent. It does not watch commits, which may change the map: what makes those ask for memory is found before
// (checkPages, checkAround).
type guard struct {
	sync.Mutex
	timer *time.Timer
	cut   *atomic.Bool
	data  uintptr // bbolt's map
	size  int64   // 0: the transaction has left bbolt
	base  uint64  // bytes of memory in use at the first look
}

const (
	guardFirst, guardEach = 20 * time.Millisecond, 10 * time.Millisecond
	guardRoom             = 32 << 20 // bytes
)

// watch begins to watch a transaction. Stop it before the commit.
func (f *File) watch(tx *bbolt.Tx) *guard {
	g := &guard{cut: &f.cut, data: f.db.Info().Data, size: min(tx.Size(), f.mapped), base: math.MaxUint64}
	g.Lock() // look waits for the timer
	defer g.Unlock()
	g.timer = time.AfterFunc(guardFirst, g.look)
	return g
}

func (g *guard) stop() {
	g.Lock()
	defer g.Unlock()
	g.size = 0
	g.timer.Stop()
}

func (g *guard) look() {
	used := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(used)
	now := used[0].Value.Uint64() + used[1].Value.Uint64()
	g.Lock()
	defer g.Unlock()
	g.base = min(g.base, now)
	if g.size > 0 && now-g.base > guardRoom {
		g.cut.Store(true)
		_, _, _ = syscall.Syscall(syscall.SYS_MPROTECT, g.data, uintptr(g.size), syscall.PROT_NONE)
	} else if g.size > 0 {
		g.timer.Reset(guardEach)
	}
}

// caught makes a panic of bbolt's, or a fault on its map, a damage.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = panicked(r)
	}
}

func panicked(r any) error {
	if fault, ok := r.(interface{ Addr() uintptr }); ok {
		return damaged("fault at address %#x: the file was cut, or the disk cannot be read", fault.Addr())
	}
	return damaged("bbolt: %v", r)
}
