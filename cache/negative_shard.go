package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// negative is a domain without a policy; until 0: an empty slot. It takes 16 bytes.
type negative struct {
	fingerprint
	until uint32 // clock.Ticks in whole seconds, of which there are enough for 80 years
}

// negativeShard is a hash table with open addressing and linear probing: an entry stands in the first free slot from
// its home on. Nothing that is done to it takes longer than some microseconds, since it has 848 entries at most.
type negativeShard struct {
	mu    sync.RWMutex
	slots []negative   // 0, or a power of two
	used  atomic.Int32 // slots that are not empty; it changes with mu held
	bound int
	hand  int // of the sweep
}

func (e negative) ends() int64 { return int64(e.until) * int64(time.Second) }

const (
	minSlots = 8
	// sweepSlots is how many slots are looked at for each new entry, for what has expired: so the hand goes round a few
	// times while a table fills.
	sweepSlots = 8
)

func (s *negativeShard) get(f fingerprint) (until int64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.find(f)
	if !ok {
		return 0, false
	}
	return s.slots[i].ends(), true
}

func (s *negativeShard) len() int { return int(s.used.Load()) }

// put takes an entry in, over the one that there is. For a new one it first drops what it finds expired, and, when
// there is no room, the one of a few drawn at random that expires first.
func (s *negativeShard) put(now int64, e negative) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, known := s.find(e.fingerprint); known {
		s.slots[i].until = e.until
		return
	}
	s.insert(now, e)
}

func (s *negativeShard) forget(f fingerprint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, known := s.find(f); known {
		s.drop(i)
	}
}

// moveTo puts what is still of use into another generation, unless that knows better.
func (s *negativeShard) moveTo(g *generation, now int64) {
	s.mu.Lock() // so an entry is forgotten here before it is moved, or there after
	defer s.mu.Unlock()
	for _, e := range s.slots {
		if e.ends() > now {
			g.shard(e.fingerprint).putIfNew(now, e)
		}
	}
}

func (s *negativeShard) putIfNew(now int64, e negative) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.find(e.fingerprint); !known {
		s.insert(now, e)
	}
}

// insert takes a new entry in.
func (s *negativeShard) insert(now int64, e negative) {
	s.sweep(now)
	if s.len() >= s.bound {
		s.drop(s.victim())
	}
	if (s.len()+1)*8 > len(s.slots)*7 {
		s.rebuild(now)
	}
	i, _ := s.find(e.fingerprint)
	s.slots[i] = e
	s.used.Add(1)
}

// find returns the slot of an entry, or, with false, the one where it would have to stand; there is none in a shard
// without slots.
func (s *negativeShard) find(f fingerprint) (int, bool) {
	if len(s.slots) == 0 {
		return 0, false
	}
	i := s.home(f)
	for s.slots[i].until != 0 {
		if s.slots[i].fingerprint == f {
			return i, true
		}
		i = s.after(i)
	}
	return i, false
}

func (s *negativeShard) home(f fingerprint) int { return int(f[2]) & (len(s.slots) - 1) }
func (s *negativeShard) after(i int) int        { return (i + 1) & (len(s.slots) - 1) }

// drop empties a slot. Entries behind it move up, so that a search still meets no empty slot before what it looks for.
func (s *negativeShard) drop(i int) {
	mask := len(s.slots) - 1
	for j := s.after(i); s.slots[j].until != 0; j = s.after(j) {
		fromHome := (j - s.home(s.slots[j].fingerprint)) & mask
		if fromHome >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = negative{}
	s.used.Add(-1)
}

// sweep moves the hand on, and drops what has expired under it.
func (s *negativeShard) sweep(now int64) {
	for range min(sweepSlots, len(s.slots)) {
		s.hand &= len(s.slots) - 1
		if e := s.slots[s.hand]; e.until != 0 && e.ends() <= now {
			s.drop(s.hand) // another may stand there now
		} else {
			s.hand++
		}
	}
}

// victim is the slot of the entry that expires first of a few. There must be one.
func (s *negativeShard) victim() int {
	worst := -1
	for range candidates {
		at := rand.IntN(len(s.slots))
		for s.slots[at].until == 0 {
			at = s.after(at)
		}
		if worst < 0 || s.slots[at].until < s.slots[worst].until {
			worst = at
		}
	}
	return worst
}

// rebuild makes the table of what has not expired, a quarter to half full.
func (s *negativeShard) rebuild(now int64) {
	old := s.slots
	live := 0
	for _, e := range old {
		if e.ends() > now {
			live++
		}
	}
	size := minSlots
	for live*2 >= size {
		size *= 2
	}
	s.slots = make([]negative, size)
	s.used.Store(int32(live))
	for _, e := range old {
		if e.ends() > now {
			i, _ := s.find(e.fingerprint)
			s.slots[i] = e
		}
	}
}
