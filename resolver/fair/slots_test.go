package fair

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func ownersOf(domain string, network Network) Owners { return Of(dnsname.MustParse(domain), network) }

// waiters are goroutines that wait for slots; order tells who got one.
type waiters struct {
	t     *testing.T
	slots *Slots
	order chan string
	free  map[string]func()
	mu    sync.Mutex
}

func (w *waiters) add(name string, owners Owners) {
	go func() {
		release, err := w.slots.Acquire(w.t.Context(), owners)
		if err != nil {
			w.t.Errorf("%s: %v", name, err)
			return
		}
		w.mu.Lock()
		w.free[name] = release
		w.mu.Unlock()
		w.order <- name
	}()
	synctest.Wait()
}

func (w *waiters) release(name string) {
	w.mu.Lock()
	free := w.free[name]
	w.mu.Unlock()
	free()
	synctest.Wait()
}

func (w *waiters) want(why string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		select {
		case got := <-w.order:
			if got != name {
				w.t.Fatalf("%s: %s has a slot, want %s", why, got, name)
			}
		default:
			w.t.Fatalf("%s: nobody has a slot, want %s", why, name)
		}
	}
	select {
	case got := <-w.order:
		w.t.Fatalf("%s: %s has a slot too", why, got)
	default:
	}
}

// TestSlots: nobody has more than its share; who has the fewest is next, then who has waited longest.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiters{t: t, slots: New(8, 2), order: make(chan string, 100), free: map[string]func(){}}
		for i := range 5 {
			w.add(fmt.Sprintf("slow%d", i), ownersOf(fmt.Sprintf("n%d.slow.test", i), 0))
		}
		w.want("a registrable domain has two of eight at most", "slow0", "slow1")
		for i := range 4 {
			w.add(fmt.Sprintf("host%d", i), ownersOf(fmt.Sprintf("host%d.test", i), 7))
		}
		w.want("so has a network", "host0", "host1")
		for i := range 6 {
			w.add(fmt.Sprintf("other%d", i), ownersOf(fmt.Sprintf("other%d.test", i), 0))
		}
		w.want("others pass those who wait, until all are taken", "other0", "other1", "other2", "other3")
		w.add("again", ownersOf("mail.other0.test", 0))
		w.add("late", ownersOf("late.test", 0))
		w.release("other3")
		w.want("who has none, the first of them", "other4")
		w.release("other1")
		w.want("the next", "other5")
		w.release("other2")
		w.want("who has none goes before who has one, though it came later", "late")
		if _, ok := w.slots.TryAcquire(ownersOf("any.test", 0)); ok {
			t.Error("a ninth slot of eight")
		}
		w.release("other4")
		w.release("late")
		w.want("the last two are spared for who has none")
		if release, ok := w.slots.TryAcquire(ownersOf("any.test", 0)); !ok {
			t.Error("who has none gets none of them")
		} else {
			release()
		}
		w.release("slow0")
		w.want("now there is one more: of those who have one each, the one that was served longest ago", "slow2")
		w.release("host0")
		w.want("the next of these", "host2")
		for _, name := range []string{"other0", "slow1", "host1", "slow2"} {
			w.release(name)
		}
		w.want("all who waited", "again", "slow3", "host3", "slow4")
	})
}

// TestSlotsOfOneNetwork: where many wait for a network that has its share, who has none by its registrable domain is
// next.
func TestSlotsOfOneNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiters{t: t, slots: New(8, 2), order: make(chan string, 100), free: map[string]func(){}}
		for i := range 3 {
			w.add(fmt.Sprintf("a%d", i), ownersOf(fmt.Sprintf("n%d.a.test", i), 7))
		}
		w.want("two of the network", "a0", "a1")
		w.add("victim", ownersOf("victim.test", 7))
		w.release("a0")
		w.want("who has none", "victim")
		w.release("victim")
		w.want("the other", "a2")
		w.release("a1")
		w.release("a2")
	})
}

// TestSlotsGivenUp: who stops to wait gets the cause, and leaves nothing behind.
func TestSlotsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1, 1)
		release, ok := s.TryAcquire(ownersOf("a.test", 0))
		if !ok {
			t.Fatal("no slot")
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { _, err := s.Acquire(ctx, ownersOf("b.test", 9)); done <- err }()
		synctest.Wait()
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("%v, want %v", err, cause)
		}
		release()
		if len(s.queues)+s.waiting.Len()+len(s.held)+s.taken != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

// TestSlotsUnderRace: whatever comes and goes, there are never more than the slots, nor any owner above its share, and
// in the end all are free.
func TestSlotsUnderRace(t *testing.T) {
	s := New(16, 4)
	var taken, ofNetwork atomic.Int64
	var all sync.WaitGroup
	for g := range 64 {
		all.Go(func() {
			for i := range 60 {
				network := Network(0)
				if g%2 == 0 {
					network = 1
				}
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					cancel()
				}
				release, err := s.Acquire(ctx, ownersOf(fmt.Sprintf("n%d.o%d.test", i, g%20), network))
				cancel()
				if err != nil {
					continue
				}
				if n := taken.Add(1); n > 16 {
					t.Errorf("%d slots of 16", n)
				}
				if network != 0 && ofNetwork.Add(1) > 4 {
					t.Error("more than four of one network")
				}
				if network != 0 {
					ofNetwork.Add(-1)
				}
				taken.Add(-1)
				release()
			}
		})
	}
	all.Wait()
	if len(s.queues)+s.waiting.Len()+len(s.held)+s.taken != 0 {
		t.Errorf("left behind: %d taken, held %v", s.taken, s.held)
	}
}
