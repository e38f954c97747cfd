package cache

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/clock"
)

// negatives remembers which domains have no policy, and until when: any number of them, so without names and without
// pointers. One takes 16 bytes in a table that is half to seven eighths full, and the garbage collector looks at no
// more than one pointer for each shard of 848. (go-cache takes 120 bytes for each, in five objects' worth of pointers.)
//
// Each domain is stored as a 96-bit fingerprint. Two domains with the same one would be taken for each other: the one's
// negative would hide the other's policy, until it ends. By chance that happens once in 10^15 for ten million domains.
// Nor can anybody bring it about: the fingerprint is made with two seeds that are drawn at each start and leave the
// process in no way, nor do the fingerprints; so names must be guessed blindly, 2^95 on average, each guess costs a
// mail through this very host, and all ends with the next start.
type negatives struct {
	seeds    [2]maphash.Seed
	current  atomic.Pointer[generation]
	resizing sync.Mutex
}

// generation is all that negatives has with one bound. While another bound comes into force there are two.
type generation struct {
	bound  int
	shards []negativeShard
	before atomic.Pointer[generation] // whose content is being taken over; nil: all is here
}

// fingerprint chooses the shard by its first word, and the slot by its last.
type fingerprint [3]uint32

// share is how many entries a shard holds at most: few, so that its lock is held for microseconds.
const share = 848

func newNegatives(bound int) *negatives {
	n := &negatives{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	n.current.Store(newGeneration(bound))
	return n
}

// newGeneration shares out a bound over shards.
func newGeneration(bound int) *generation {
	g := &generation{bound: bound, shards: make([]negativeShard, (bound+share-1)/share)}
	for i := range g.shards {
		g.shards[i].bound = (bound + i) / len(g.shards)
	}
	return g
}

func (g *generation) shard(f fingerprint) *negativeShard {
	i, _ := bits.Mul32(f[0], uint32(len(g.shards)))
	return &g.shards[i]
}

func (n *negatives) fingerprint(name string) fingerprint {
	first := maphash.String(n.seeds[0], name)
	return fingerprint{uint32(first >> 32), uint32(first), uint32(maphash.String(n.seeds[1], name))}
}

// get returns until when a domain has no policy, in clock.Ticks, as last put but rounded up to a second, expired
// or not.
func (n *negatives) get(name string) (until int64, ok bool) {
	f := n.fingerprint(name)
	g := n.current.Load()
	if until, ok = g.shard(f).get(f); ok {
		return until, true
	}
	if before := g.before.Load(); before != nil {
		return before.shard(f).get(f)
	}
	return 0, false
}

// put remembers that a domain has no policy. now lets it drop what has expired.
func (n *negatives) put(now time.Time, name string, until int64) {
	f := n.fingerprint(name)
	seconds := min((max(until, 1)-1)/int64(time.Second)+1, math.MaxUint32) // rounded up
	n.current.Load().shard(f).put(clock.Ticks(now), negative{f, uint32(seconds)})
}

// forget removes a domain, from whatever generation may have it.
func (n *negatives) forget(name string) {
	f := n.fingerprint(name)
	for {
		g := n.current.Load()
		if before := g.before.Load(); before != nil {
			before.shard(f).forget(f) // first: what is taken over after this is without it
		}
		g.shard(f).forget(f)
		if n.current.Load() == g {
			return
		}
	}
}

func (n *negatives) len() int {
	g := n.current.Load()
	count := 0
	for i := range g.shards {
		count += g.shards[i].len()
	}
	return count
}

// resize puts another bound in force, and takes over what is remembered, shard by shard, while questions go on.
func (n *negatives) resize(now time.Time, bound int) {
	n.resizing.Lock()
	defer n.resizing.Unlock()
	before := n.current.Load()
	if before.bound == bound {
		return
	}
	g := newGeneration(bound)
	g.before.Store(before)
	n.current.Store(g)
	for i := range before.shards {
		before.shards[i].moveTo(g, clock.Ticks(now))
	}
	g.before.Store(nil)
}
