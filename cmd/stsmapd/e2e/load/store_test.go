package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestGenerations stores, changes, refreshes and removes policies for many generations. The store's file does not grow
// for ever: the room of removed policies is used again.
func TestGenerations(t *testing.T) {
	const (
		live    = 20_000
		settled = 5  // after so many generations the file has its size
		growth  = 10 // percent that it may grow from then on
	)
	generations := testkit.Sample(t, "generations", 20, 10)
	dir := t.TempDir()
	store := openStore(t, dir)
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
		at := time.Now().UTC().Truncate(time.Second).AddDate(0, 0, generation)
		together(t, puts, func(i int) error {
			return store.Put(context.Background(), inGeneration(t, i, generation, at))
		})
		together(t, deletes, func(i int) error { return store.Delete(context.Background(), withPolicy(i)) })
		info, err := os.Stat(filepath.Join(dir, "policies.db"))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
		t.Logf("generation %d: %d changed or new, %d gone, %d in the store: %d MiB", generation+1, len(puts),
			len(deletes), store.Len(), info.Size()>>20)
		if store.Len() != live {
			t.Fatalf("%d policies, want %d", store.Len(), live)
		}
	}
	limit := sizes[settled-1] * (100 + growth) / 100
	if last := sizes[generations-1]; last > limit {
		t.Errorf("the file has %d bytes after %d generations, it had %d after %d", last, generations, sizes[settled-1],
			settled)
	}
	reopened(t, store, dir, policies)
}

// reopened checks that all of these policies, and no others, are in the store after a restart.
func reopened(t *testing.T, store *store.Store, dir string, policies map[int]bool) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = openStore(t, dir)
	for i := range policies {
		if _, err := store.Get(t.Context(), withPolicy(i)); err != nil {
			t.Fatalf("after a restart: %v: %v", withPolicy(i), err)
		}
	}
	if store.Len() != len(policies) {
		t.Errorf("%d policies after a restart, want %d", store.Len(), len(policies))
	}
}

// inGeneration is a domain's policy, of another size in each generation; one in 500 is always large.
func inGeneration(t *testing.T, i, generation int, at time.Time) resolver.Entry {
	size := 100 + (i*7919+generation*104729)%1500
	if i%500 == 0 {
		size = 30_000
	}
	p, err := mtasts.ParsePolicy(
		fmt.Appendf(nil, "version: STSv1\nmode: enforce\nmx: mx1.policy.test\nmax_age: 2592000\nx-filler: %s\n",
			strings.Repeat("x", size)))
	if err != nil {
		t.Error(err)
	}
	return resolver.Entry{Domain: withPolicy(i), ID: fmt.Sprint(generation), Policy: p, Fetched: at, Checked: at,
		Used: at}
}

// together calls work for each number, many at a time so that they share commits.
func together(t *testing.T, numbers []int, work func(i int) error) {
	t.Helper()
	queue := make(chan int)
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			for i := range queue {
				if err := work(i); err != nil {
					t.Errorf("%v: %v", withPolicy(i), err)
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
