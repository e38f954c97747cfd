package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func mustName(s string) dnsname.Name { return dnsname.MustParse(s) }

func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// workers is how many goroutines the concurrent tests use.
const workers = 16

// crowd runs n goroutines and fails the test with their errors.
func crowd(t *testing.T, n int, work func(worker int) error) {
	t.Helper()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := work(i); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func testWalk(t *testing.T, s resolver.Store) {
	if found := walk(t, s); len(found) != 0 {
		t.Fatalf("an empty store yields %d entries", len(found))
	}
	const n = 1500 // more than any store takes at once
	crowd(t, workers, func(worker int) error {
		for i := worker; i < n; i += workers {
			if err := s.Put(t.Context(), Entry(i, Clock())); err != nil {
				return err
			}
		}
		return nil
	})
	found := walk(t, s)
	for i := range n {
		if e, ok := found[Domain(i)]; !ok || !Equal(Entry(i, Clock()), e) {
			t.Fatalf("All yields %+v for %s", e, Domain(i))
		}
	}
	if len(found) != n {
		t.Fatalf("All yields %d entries of %d", len(found), n)
	}
}

// testWalkBreaks ends walks early, and writes in the middle of one.
func testWalkBreaks(t *testing.T, s resolver.Store) {
	for i := range 20 {
		put(t, s, Entry(i, Clock()))
	}
	for range 3 {
		for range s.All(t.Context()) {
			break
		}
	}
	seen := 0
	for e, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		put(t, s, Entry(100+seen, Clock())) // by the goroutine that walks
		expect(t, s, e, "read during a walk")
		if seen == 10 {
			break
		}
	}
	put(t, s, Entry(200, Clock()))
	expect(t, s, Entry(200, Clock()), "after a walk that was broken off")
}

// testWalkUnderPuts: a walk yields all that was there throughout, while others put and delete.
func testWalkUnderPuts(t *testing.T, s resolver.Store) {
	const stays = 700
	for i := range stays {
		put(t, s, Entry(2*i, Clock()))
	}
	var stop atomic.Bool
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := w; !stop.Load(); i += 4 {
				e := Entry(2*(i%1000)+1, Clock().Add(time.Duration(i)*time.Second))
				if err := s.Put(t.Context(), e); err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					if err := s.Delete(t.Context(), e.Domain); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 5 {
		found := walk(t, s)
		for i := range stays {
			if e, ok := found[Domain(2*i)]; !ok || !Equal(Entry(2*i, Clock()), e) {
				t.Errorf("All yields %+v for %s, which was there throughout", e, Domain(2*i))
			}
		}
	}
	stop.Store(true)
	group.Wait()
}

func testConcurrent(t *testing.T, s resolver.Store) { TestConcurrent(t, s) }

// TestConcurrent: many put the same domains; the entry fetched last wins, and a reader never sees time go back.
func TestConcurrent(t *testing.T, s Values) {
	const domains, rounds = 8, 30
	end := Clock().Add(workers * rounds * time.Minute)
	at := func(worker, round int) time.Time {
		return Clock().Add(time.Duration(round*workers+worker) * time.Minute)
	}
	crowd(t, workers, func(worker int) error {
		var seen [domains]time.Time
		for round := range rounds {
			for d := range domains {
				e := Entry(d, at(worker, round))
				e.Checked = end // no clock runs ahead here
				if err := s.Put(t.Context(), e); err != nil {
					return err
				}
				got, err := s.Get(t.Context(), Domain(d))
				if err != nil {
					return err
				}
				if got.Fetched.Before(e.Fetched) || got.Fetched.Before(seen[d]) {
					return fmt.Errorf("%s: fetched %s after %s was put and %s was seen", got.Domain, got.Fetched,
						e.Fetched, seen[d])
				}
				seen[d] = got.Fetched
			}
		}
		return nil
	})
	for d := range domains {
		want := Entry(d, at(workers-1, rounds-1))
		want.Checked = end
		expect(t, s, want, "the one fetched last")
	}
}

// testOwnOrder: each caller finds its own operations done in its own order.
func testOwnOrder(t *testing.T, s resolver.Store) {
	crowd(t, workers, func(worker int) error {
		for round := range 10 {
			e := Entry(worker, Clock().Add(time.Duration(round)*time.Second))
			if err := s.Put(t.Context(), e); err != nil {
				return err
			}
			if got, err := s.Get(t.Context(), e.Domain); err != nil || !Equal(e, got) {
				return fmt.Errorf("after Put: %+v, %v", got, err)
			}
			if err := s.Delete(t.Context(), e.Domain); err != nil {
				return err
			}
			if _, err := s.Get(t.Context(), e.Domain); !errors.Is(err, resolver.ErrNotCached) {
				return fmt.Errorf("after Delete: %v", err)
			}
		}
		return nil
	})
}
