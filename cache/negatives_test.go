package cache

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/clock"
)

// checkNegatives: every entry is found where a search looks for it, and counted, and no shard is over its bound.
func checkNegatives(t *testing.T, n *negatives) {
	t.Helper()
	g := n.current.Load()
	if g.before.Load() != nil {
		t.Error("an old generation is left")
	}
	for i := range g.shards {
		s := &g.shards[i]
		count := 0
		for at, e := range s.slots {
			if e.until == 0 {
				continue
			}
			count++
			if found, ok := s.find(e.fingerprint); !ok || found != at {
				t.Errorf("shard %d: the entry in slot %d is looked for in slot %d", i, at, found)
			}
		}
		if count != s.len() || s.len() > s.bound || s.len()*8 > len(s.slots)*7 {
			t.Errorf("shard %d: %d entries, counted as %d, of at most %d, in %d slots", i, count, s.len(), s.bound,
				len(s.slots))
		}
	}
}

// TestNegativesAgainstAMap: with room for all, the table does what a map does.
func TestNegativesAgainstAMap(t *testing.T) {
	for _, names := range []int{3, 9, 100, 600} {
		n := newNegatives(share)
		want := map[int]int64{}
		random := rand.New(rand.NewPCG(1, uint64(names)))
		now := storetest.Clock()
		for range 20_000 {
			now = now.Add(time.Duration(random.IntN(3)) * time.Second)
			i := random.IntN(names)
			name := storetest.Domain(i).String()
			if random.IntN(3) == 0 {
				n.forget(name)
				delete(want, i)
			} else {
				end := clock.Ticks(now.Add(time.Duration(1+random.IntN(600)) * time.Second))
				n.put(now, name, end)
				want[i] = inSeconds(end)
			}
			look := random.IntN(names)
			got, ok := n.get(storetest.Domain(look).String())
			if expired := want[look] <= clock.Ticks(now); ok && got != want[look] || !ok && !expired {
				t.Fatalf("%d names: entry %d is %d %v, want %d, now %d", names, look, got, ok, want[look],
					clock.Ticks(now))
			}
		}
		checkNegatives(t, n)
	}
}

// TestNegativesRoomIsUsedAgain: a table through which domains pass for days does not grow.
func TestNegativesRoomIsUsedAgain(t *testing.T) {
	n := newNegatives(share)
	now := storetest.Clock()
	for i := range 50_000 {
		now = now.Add(time.Second)
		n.put(now, million(i).String(), clock.Ticks(now.Add(100*time.Second)))
	}
	checkNegatives(t, n)
	if slots := len(n.current.Load().shards[0].slots); n.len() > 200 || slots > 512 {
		t.Errorf("of at most 100 live entries %d are held, in %d slots", n.len(), slots)
	}
}

func TestMaxNegativeCanBeChanged(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{MaxNegative: 10_000})
	put := func(from, to int) {
		for i := from; i < to; i++ {
			m.PutNegative(now, storetest.Domain(i), until(now.Add(time.Hour)))
		}
	}
	left := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if a, ok := m.Negative(storetest.Domain(i)); ok && a.Fresh(now) {
				n++
			}
		}
		return n
	}
	put(0, 5000)
	for _, tc := range []struct {
		why         string
		bound       int
		least, most int
	}{
		{"raised: all stay", 100_000, 5000, 5000},
		{"the same", 100_000, 5000, 5000},
		{"lowered, with room for all: all stay", 20_000, 5000, 5000},
		{"lowered below what there is", 1000, 900, 1000},
		{"raised again: what is left stays", 50_000, 900, 1000},
	} {
		m.SetMaxNegative(now, tc.bound)
		if n := left(0, 5000); n < tc.least || n > tc.most || n != m.Negatives() {
			t.Errorf("%s: %d are found and %d counted, want %d to %d", tc.why, n, m.Negatives(), tc.least, tc.most)
		}
		checkNegatives(t, m.negatives)
	}
	put(10_000, 40_000)
	if n := left(10_000, 40_000); n < 30_000*99/100 {
		t.Errorf("under the raised bound %d of 30000 are held", n)
	}
}

func TestMaxNegativeBoundsFailures(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{})
	put := func() {
		for i := range 5000 {
			m.PutNegative(now, storetest.Domain(i), failed(now.Add(time.Hour)))
		}
	}
	put()
	m.SetMaxNegative(now, 1000)
	put()
	if n := m.Negatives(); n > 1000 || n < 900 {
		t.Errorf("%d failures are held, want 1000", n)
	}
	checkNegatives(t, m.negatives)
}

// TestMaxNegativeUnderFire: while the bound changes, nothing that was forgotten comes back, and what is known stays
// known.
func TestMaxNegativeUnderFire(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{MaxNegative: 100_000})
	const stay, askers, each = 2000, 4, 5000
	for i := range stay {
		m.PutNegative(now, storetest.Domain(i), until(now.Add(time.Hour)))
	}
	stop := make(chan struct{})
	var resizer, group sync.WaitGroup
	resizer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				m.SetMaxNegative(now, 100_000+i%2*50_000)
			}
		}
	})
	for a := range askers {
		group.Go(func() {
			for i := range each {
				if _, ok := m.Negative(storetest.Domain((i*askers + a) % stay)); !ok {
					t.Error("one that was there was lost")
				}
				own := storetest.Domain(stay + a*each + i)
				m.PutNegative(now, own, until(now.Add(time.Hour)))
				m.PutPolicy(held(stay+a*each+i, now))
				if _, ok := m.Negative(own); ok {
					t.Error("one that was forgotten came back")
				}
			}
		})
	}
	group.Wait()
	close(stop)
	resizer.Wait()
	for i := range askers * each {
		if _, ok := m.Negative(storetest.Domain(stay + i)); ok {
			t.Fatalf("the negative of a domain with a policy, number %d, came back", i)
		}
	}
	checkNegatives(t, m.negatives)
}
