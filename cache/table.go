package cache

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	gocache "github.com/patrickmn/go-cache"

	"github.com/stsmapd/stsmapd/resolver"
)

// table holds failures up to a bound: a shard of them, in a go-cache. go-cache knows neither bounds nor order, so the
// keys stand in a slice besides, each once: a hand goes round it for what is dead, and victims are drawn from it. Reads
// only take go-cache's own lock.
type table struct {
	cache *gocache.Cache
	bound int

	mu   sync.Mutex // for all that changes the keys
	keys []string   // those of cache, in no order
	hand int
}

const (
	sweepSteps = 2 // keys looked at for each new one: a whole round while the table doubles
	candidates = 4 // drawn to find a victim
)

// newTables makes enough of them for so many failures.
func newTables(count int) []table {
	tables := make([]table, (count+share-1)/share)
	for i := range tables {
		tables[i].cache = gocache.New(gocache.NoExpiration, 0)
	}
	return tables
}

// get returns what was put last under a key.
func (t *table) get(key string) (a resolver.Negative, ok bool) {
	x, ok := t.cache.Get(key)
	if ok {
		a = x.(resolver.Negative)
	}
	return a, ok
}

// setBound changes the bound. What is over it goes with the next puts.
func (t *table) setBound(bound int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound = bound
}

// put takes a value in, where the bound is not 0. For a new key it first drops what it finds dead at now, and a victim
// when there is no room.
func (t *table) put(now time.Time, key string, a resolver.Negative) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bound > 0 {
		t.cache.Set(t.own(now, key), a, gocache.NoExpiration)
	}
}

// own returns the table's own copy of a key: the caller's may be a part of something large, and a map keeps what it was
// given last. Searching a shard's keys takes microseconds.
func (t *table) own(now time.Time, key string) string {
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
func (t *table) forget(key string) {
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
func (t *table) sweep(now time.Time) {
	for range min(sweepSteps, len(t.keys)) {
		if t.hand >= len(t.keys) {
			t.hand = 0
		}
		if a, ok := t.get(t.keys[t.hand]); !ok || !now.Before(a.Expires()) {
			t.remove(t.hand)
		} else {
			t.hand++
		}
	}
}

// victim is the index of the key whose failure is over first, of a few.
func (t *table) victim() int {
	worst, earliest := 0, time.Time{}
	for i := range candidates {
		at := rand.IntN(len(t.keys))
		a, _ := t.get(t.keys[at])
		if end := a.Expires(); i == 0 || end.Before(earliest) {
			worst, earliest = at, end
		}
	}
	return worst
}

// remove drops the key at an index; the last one takes its place.
func (t *table) remove(i int) {
	t.cache.Delete(t.keys[i])
	last := len(t.keys) - 1
	t.keys[i] = t.keys[last]
	t.keys[last] = ""
	t.keys = t.keys[:last]
}
