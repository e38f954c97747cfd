package store

import (
	"math"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

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
func watch(h *handle, tx *bbolt.Tx) *guard {
	g := &guard{cut: &h.cut, data: h.db.Info().Data, size: min(tx.Size(), h.mapped), base: math.MaxUint64}
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

// panicked makes a panic of bbolt's, or a fault on its map, a damage.
func panicked(r any) error {
	if fault, ok := r.(interface{ Addr() uintptr }); ok {
		return damaged("fault at address %#x: the file was cut, or the disk cannot be read", fault.Addr())
	}
	return damaged("bbolt: %v", r)
}
