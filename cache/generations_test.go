package cache

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// TestGenerations: policies come, change, are refreshed and go, for generations. The file does not grow for ever: the room of
// what went is used again.
func TestGenerations(t *testing.T) {
	const (
		live        = 20_000
		generations = 20
		settled     = 5  // from this generation on the file has its size
		growth      = 10 // percent that it may grow after that
	)
	path := storePath(t)
	l := &logged{}
	b := openBolt(t, path, l)
	random := rand.New(rand.NewPCG(8461, 3))
	policies := map[int]bool{} // numbers of the domains that have one
	born := 0
	var sizes []int64
	for generation := range generations {
		var puts, deletes []int
		for i := range policies {
			if random.IntN(10) < 3 { // expired, or no longer in use
				delete(policies, i)
				deletes = append(deletes, i)
			} else {
				puts = append(puts, i)
			}
		}
		for len(policies) < live {
			policies[born] = true
			puts = append(puts, born)
			born++
		}
		now := storetest.Clock().Add(time.Duration(generation) * 24 * time.Hour)
		many(t, puts, func(i int) error { return b.Put(context.Background(), churned(i, generation, now)) })
		many(t, deletes, func(i int) error { return b.Delete(context.Background(), storetest.Domain(i)) })
		if b.Len() != live {
			t.Fatalf("generation %d: %d policies, want %d", generation, b.Len(), live)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
		t.Logf("generation %d: %d MiB", generation, info.Size()>>20)
	}
	for generation, size := range sizes {
		if limit := sizes[settled-1] * (100 + growth) / 100; size > limit {
			t.Errorf("generation %d: the file has %d bytes, after the first %d it had %d", generation, size, settled, sizes[settled-1])
		}
	}
	s := b.Stats()
	t.Logf("%d puts and %d deletes in %d commits", s.Puts, s.Deletes, s.Commits)
	closeBolt(t, b)
	b = openBolt(t, path, l)
	for i := range policies {
		if _, err := b.Get(t.Context(), storetest.Domain(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.lines) > 0 {
		t.Errorf("log: %q", l.lines)
	}
	closeBolt(t, b)
}

// churned is the policy of a domain in a generation: of another size each time, and now and then a large one.
func churned(i, generation int, now time.Time) resolver.Entry {
	e := storetest.Entry(i, now)
	size := 100 + (i*7919+generation*104729)%1500
	if i%500 == 0 {
		size = 30_000
	}
	e.Policy = storetest.Policy(size)
	return e
}

// many calls work for each number, many at a time so that they share commits.
func many(t *testing.T, numbers []int, work func(i int) error) {
	t.Helper()
	queue := make(chan int)
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			for i := range queue {
				if err := work(i); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	for _, i := range numbers {
		queue <- i
	}
	close(queue)
	all.Wait()
}
