package cache

import (
	"fmt"
	"hash/maphash"
	"iter"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	gocache "github.com/patrickmn/go-cache"
)

// Bounded maps keys to values and holds a bounded number of them, at a bounded cost. A value that is set when a bound
// is reached evicts others: each time the one that ranks first of a few drawn at random. Values do not expire here:
// the caller judges whether what Get returns is still valid, and removes dead values with DeleteFunc.
//
// Two keys with the same String are the same key. The values are kept in shards of go-cache, without its expiry and
// its janitor goroutine. No operation locks a shard for more than some microseconds, and Get takes only a read lock
// and does not allocate. Make a Bounded with NewBounded. It is safe for concurrent use.
type Bounded[K fmt.Stringer, V any] struct {
	seed   maphash.Seed
	shards []boundedShard
	rank   Rank[V]

	bounds      atomic.Pointer[Bounds]
	count, cost atomic.Int64
}

// Bounds is how much a Bounded holds at most.
type Bounds struct {
	Count int   // number of values; below 1: none is kept
	Cost  int64 // sum of their costs, in the unit of Rank.Cost; 0: no bound
}

// allow reports whether so many values that cost so much together are within the bounds.
func (b Bounds) allow(count, cost int64) bool {
	return count <= max(0, int64(b.Count)) && (b.Cost <= 0 || cost <= b.Cost)
}

// Rank tells a Bounded about its values. Its functions are called with a shard locked and must not use the Bounded.
type Rank[V any] struct {
	// Before reports whether a is evicted before b. nil: any may be evicted first.
	Before func(a, b V) bool
	// Keep reports whether a value is evicted only where keepTries shards have no other. nil: none.
	Keep func(V) bool
	// Evicted is called for each value that is evicted. nil: nobody wants to know.
	Evicted func()
	// Cost is what a value and its key cost, in bytes for example. It must always return the same for a value. nil:
	// values cost nothing.
	Cost func(V) int64
}

// boundedShard is one go-cache and the map in it. Writers hold mu besides go-cache's own lock. So the holder of mu may
// read the map directly: go-cache itself can neither draw a few values at random nor change a value atomically.
type boundedShard struct {
	cache gocache.Cache
	mu    sync.Mutex
	items map[string]gocache.Item // the map in cache
}

// candidates is how many values are drawn to find the one that is evicted.
const candidates = 4

// keepTries is in how many shards a value is looked for that is not to be kept.
const keepTries = 8

// boundedShare is how many values a shard holds on average when the bound is reached. A map of Go's doubles its memory
// at 896 entries; with an average of 768 chance fills no shard so far.
const boundedShare = 768

// NewBounded returns an empty Bounded. The number of its shards follows from bounds.Count and does not change later.
func NewBounded[K fmt.Stringer, V any](bounds Bounds, rank Rank[V]) *Bounded[K, V] {
	if rank.Before == nil {
		rank.Before = func(V, V) bool { return false }
	}
	if rank.Keep == nil {
		rank.Keep = func(V) bool { return false }
	}
	if rank.Evicted == nil {
		rank.Evicted = func() {}
	}
	if rank.Cost == nil {
		rank.Cost = func(V) int64 { return 0 }
	}
	b := &Bounded[K, V]{seed: maphash.MakeSeed(), rank: rank}
	b.bounds.Store(&bounds)
	b.shards = make([]boundedShard, max(1, (bounds.Count+boundedShare-1)/boundedShare))
	for i := range b.shards {
		s := &b.shards[i]
		s.items = map[string]gocache.Item{}
		s.cache = *gocache.NewFrom(gocache.NoExpiration, 0, s.items)
	}
	return b
}

// Get returns the value of a key, and whether there is one.
func (b *Bounded[K, V]) Get(key K) (value V, ok bool) {
	text := key.String()
	x, ok := b.shard(text).cache.Get(text)
	value, _ = x.(V)
	return value, ok
}

// Put sets the value of a key, as Update does.
func (b *Bounded[K, V]) Put(key K, value V) {
	b.Update(key, func(V, bool) (V, bool) { return value, true })
}

// Update calls f with the value of a key, if there is one, and sets the value that f returns, or removes the key where
// keep is false. Nobody else changes the key meanwhile; Get returns the old value until then. Afterwards Update evicts
// other values until the bounds are kept. A value that costs more than Bounds.Cost alone is not kept. f must not use b.
//
// The key's text is kept as it is given. Where it is a part of a larger string, clone it first.
func (b *Bounded[K, V]) Update(key K, f func(old V, ok bool) (value V, keep bool)) {
	text := key.String()
	b.update(text, f)
	b.evict(text)
}

func (b *Bounded[K, V]) update(text string, f func(old V, ok bool) (V, bool)) {
	s := b.shard(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	item, known := s.items[text]
	old, _ := item.Object.(V)
	value, keep := f(old, known)
	keep = keep && b.bounds.Load().allow(1, b.rank.Cost(value))
	if known {
		b.tally(-1, old)
	}
	if keep {
		b.tally(1, value)
		s.cache.Set(text, value, gocache.NoExpiration)
	} else if known {
		s.cache.Delete(text)
	}
}

// Delete removes a key.
func (b *Bounded[K, V]) Delete(key K) {
	b.update(key.String(), func(old V, _ bool) (V, bool) { return old, false })
}

// DeleteFunc removes all values for which dead returns true. It may miss one that is set meanwhile. dead must not
// use b.
func (b *Bounded[K, V]) DeleteFunc(dead func(key string, value V) bool) {
	for i := range b.shards {
		b.deleteFrom(&b.shards[i], dead)
	}
}

func (b *Bounded[K, V]) deleteFrom(s *boundedShard, dead func(string, V) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, item := range s.items {
		if value, _ := item.Object.(V); dead(text, value) {
			b.tally(-1, value)
			s.cache.Delete(text)
		}
	}
}

// All yields each key's text and its value. No lock is held while it yields, so the caller may use b; what is set or
// removed meanwhile may be yielded or not.
func (b *Bounded[K, V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for i := range b.shards {
			for text, item := range b.shards[i].cache.Items() {
				if value, _ := item.Object.(V); !yield(text, value) {
					return
				}
			}
		}
	}
}

// Len is how many values there are.
func (b *Bounded[K, V]) Len() int { return int(b.count.Load()) }

// Cost is the sum of their costs.
func (b *Bounded[K, V]) Cost() int64 { return b.cost.Load() }

// SetBounds puts other bounds in force. When it returns, what was over them is gone.
func (b *Bounded[K, V]) SetBounds(bounds Bounds) {
	b.bounds.Store(&bounds)
	b.evict("")
}

func (b *Bounded[K, V]) shard(text string) *boundedShard {
	i, _ := bits.Mul64(maphash.String(b.seed, text), uint64(len(b.shards)))
	return &b.shards[i]
}

// tally counts a value in (1) or out (-1).
func (b *Bounded[K, V]) tally(n int64, value V) {
	b.count.Add(n)
	b.cost.Add(n * b.rank.Cost(value))
}

// evict removes values until the bounds are kept, except the one of a key that has just been set.
func (b *Bounded[K, V]) evict(except string) {
	for {
		if b.bounds.Load().allow(b.count.Load(), b.cost.Load()) {
			return
		}
		at := rand.IntN(len(b.shards))
		for tried := 0; !b.evictFrom(&b.shards[at], except, tried < keepTries); tried++ {
			if tried >= len(b.shards)+keepTries {
				return // nothing else is left
			}
			at = (at + 1) % len(b.shards)
		}
	}
}

// evictFrom removes one value of a shard, none of those to keep if keep is set; false: there is none but the excepted
// one.
func (b *Bounded[K, V]) evictFrom(s *boundedShard, except string, keep bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	victim, least, seen := "", *new(V), 0
	for text, item := range s.items { // begins at a random entry
		if text == except {
			continue
		}
		value, _ := item.Object.(V)
		if seen == 0 || b.rank.Before(value, least) {
			victim, least = text, value
		}
		if seen++; seen >= candidates && !b.rank.Keep(least) {
			break
		}
	}
	if seen == 0 || keep && b.rank.Keep(least) {
		return false
	}
	b.tally(-1, least)
	b.rank.Evicted()
	s.cache.Delete(victim)
	return true
}
