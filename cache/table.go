package cache

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

// kind is what a table must know of its values.
type kind[V any] struct {
	dead func(v V, now time.Time) bool // of no more use
	rank func(v V) time.Time           // of two the one with the earlier time matters less
}

// table is one shard: a go-cache with a bound. go-cache knows neither bounds nor order, so the keys stand in a slice besides, each
// once: a hand goes round it for what is dead, and victims are drawn from it. Reads only take go-cache's own lock.
type table[V any] struct {
	cache *gocache.Cache
	kind  kind[V]
	bound int

	mu   sync.Mutex // for all that changes the keys
	keys []string   // those of cache, in no order
	hand int
}

const (
	sweepSteps = 2 // keys looked at for each new one: a whole round while the table doubles
	candidates = 4 // drawn to find a victim
)

func (t *table[V]) init(bound int, k kind[V]) {
	t.cache, t.kind, t.bound = gocache.New(gocache.NoExpiration, 0), k, bound
}

// get returns what was put last under a key.
func (t *table[V]) get(key string) (v V, ok bool) {
	x, ok := t.cache.Get(key)
	if ok {
		v = x.(V)
	}
	return v, ok
}

// setBound changes the bound. What is over it goes with the next puts.
func (t *table[V]) setBound(bound int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound = bound
}

// put takes a value in, where the bound is not 0. For a new key it first drops what it finds dead at now, and a victim when there is no room.
func (t *table[V]) put(now time.Time, key string, v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bound > 0 {
		t.cache.Set(t.own(now, key), v, gocache.NoExpiration)
	}
}

// own returns the table's own copy of a key: the caller's may be a part of something large, and a map keeps what it was given last.
// Searching a shard's keys takes microseconds.
func (t *table[V]) own(now time.Time, key string) string {
	if _, known := t.cache.Get(key); known {
		return t.keys[slices.Index(t.keys, key)]
	}
	t.sweep(now)
	for range 2 { // one makes room; the other is for when the bound was lowered
		if len(t.keys) >= t.bound {
			t.remove(t.victim())
		}
	}
	key = strings.Clone(key)
	t.keys = append(t.keys, key)
	return key
}

// forget removes a key.
func (t *table[V]) forget(key string) {
	if _, known := t.cache.Get(key); !known {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.keys, key); i >= 0 {
		t.remove(i)
	}
}

// sweep moves the hand on, and drops what is dead under it.
func (t *table[V]) sweep(now time.Time) {
	for range min(sweepSteps, len(t.keys)) {
		if t.hand >= len(t.keys) {
			t.hand = 0
		}
		if v, ok := t.get(t.keys[t.hand]); !ok || t.kind.dead(v, now) {
			t.remove(t.hand)
		} else {
			t.hand++
		}
	}
}

// victim is the index of the key that matters least of a few.
func (t *table[V]) victim() int {
	worst, worstRank := 0, time.Time{}
	for i := range candidates {
		at := rand.IntN(len(t.keys))
		v, _ := t.get(t.keys[at])
		if rank := t.kind.rank(v); i == 0 || rank.Before(worstRank) {
			worst, worstRank = at, rank
		}
	}
	return worst
}

// remove drops the key at an index; the last one takes its place.
func (t *table[V]) remove(i int) {
	t.cache.Delete(t.keys[i])
	last := len(t.keys) - 1
	t.keys[i] = t.keys[last]
	t.keys[last] = ""
	t.keys = t.keys[:last]
}
