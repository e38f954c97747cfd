// Package due holds the refreshes of policies that are due before the next walk over the store, and says which is next:
// of those that are due, the one whose policy has the smallest part of its max_age left. What belongs to an owner (see
// package fair) who has its share of refreshes in progress waits, and holds up nobody else.
package due

import (
	"container/heap"
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
)

// Item is a refresh.
type Item struct {
	Domain  dnsname.Name
	At      time.Time     // when it is due
	Expires time.Time     // the policy
	MaxAge  time.Duration // of the policy
	Network fair.Network  // of the policy host; 0: unknown
}

// left is the part of max_age that is left at now.
func (i Item) left(now time.Time) float64 {
	return float64(i.Expires.Sub(now)) / float64(max(i.MaxAge, 1))
}

// staggered moves the refresh by a part of most that the domain draws of the seed.
func (i Item) staggered(seed maphash.Seed, most time.Duration) Item {
	if most > 0 {
		i.At = i.At.Add(time.Duration(maphash.String(seed, i.Domain.String()) % uint64(most)))
	}
	return i
}

// Queue holds refreshes. What is due after its horizon is left to the next walk over the store, so that a million
// policies cost no memory here. Make a Queue with New. It is safe for concurrent use.
type Queue struct {
	stagger time.Duration // 0: none
	seed    maphash.Seed

	mu       sync.Mutex
	horizon  time.Time
	due      map[dnsname.Name]time.Time   // the one time that counts for a domain
	taken    map[dnsname.Name]fair.Owners // by Next, until Done
	hastened map[dnsname.Name]Item        // of what is taken
	held     map[fair.Owner]int           // of what is taken
	later    byTime
	ready    byUrgency                 // what is due
	parked   map[fair.Owner]*byUrgency // what is due, and waits for its owner to have fewer in progress
	wake     chan struct{}             // tells that there may be something sooner
}

// New returns an empty queue. Each domain's time is moved by a part of stagger that this queue draws for it: so of the
// hosts of a fleet one begins with it before the others.
func New(stagger time.Duration) *Queue {
	return &Queue{stagger: stagger, seed: maphash.MakeSeed(), due: map[dnsname.Name]time.Time{},
		taken: map[dnsname.Name]fair.Owners{}, hastened: map[dnsname.Name]Item{}, held: map[fair.Owner]int{},
		parked: map[fair.Owner]*byUrgency{},
		wake:   make(chan struct{}, 1)}
}

// Extend moves the horizon; a walk over the store does that.
func (q *Queue) Extend(horizon time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.horizon = horizon
}

// Add sets a domain's time, over any that it had. A refresh that is overdue at now changes nothing for a domain that is
// queued or taken: that one may have failed, and waits for its next try.
func (q *Queue) Add(now time.Time, i Item) {
	i = i.staggered(q.seed, q.stagger)
	q.mu.Lock()
	defer q.mu.Unlock()
	_, queued := q.due[i.Domain]
	if _, taken := q.taken[i.Domain]; !i.At.After(now) && (queued || taken) {
		return
	}
	q.set(i)
}

// Hasten sets a domain's time as Add does, and brings forward a refresh that waits for its next try. For a domain that
// is taken it sets the time after Done.
func (q *Queue) Hasten(i Item) {
	i = i.staggered(q.seed, q.stagger)
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, taken := q.taken[i.Domain]; taken {
		q.hastened[i.Domain] = i
		return
	}
	q.set(i)
}

// Done ends what Next began. Where again is not nil, the refresh is still due, and is tried again at its time.
func (q *Queue) Done(domain dnsname.Name, again *Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.taken[domain] {
		if q.held[o]--; q.held[o] <= 0 {
			delete(q.held, o)
		}
		q.unpark(o)
	}
	delete(q.taken, domain)
	if i, ok := q.hastened[domain]; ok {
		delete(q.hastened, domain)
		again = &i
	}
	if again != nil {
		q.set(*again)
	}
}

// unpark makes the most urgent of what waits for an owner ready.
func (q *Queue) unpark(o fair.Owner) {
	h := q.parked[o]
	if h == nil {
		return
	}
	heap.Push(&q.ready, heap.Pop(h))
	if h.Len() == 0 {
		delete(q.parked, o)
	}
	q.signal()
}

// set sets a domain's time, over any that it had. Call it with mu held.
func (q *Queue) set(i Item) {
	if i.At.After(q.horizon) {
		delete(q.due, i.Domain)
		return
	}
	if old, ok := q.due[i.Domain]; ok && old.Equal(i.At) {
		return
	}
	q.due[i.Domain] = i.At
	heap.Push(&q.later, i)
	q.signal()
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Drop takes a domain out of the queue.
func (q *Queue) Drop(domain dnsname.Name) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.due, domain)
	delete(q.hastened, domain)
}

// counts reports whether an item is still the one that counts for its domain.
func (q *Queue) counts(i Item) bool {
	at, ok := q.due[i.Domain]
	return ok && at.Equal(i.At)
}

// sortAtOnce bounds how many items one call of Next moves, which takes some milliseconds: questions wait for the lock,
// and one owner may have a million policies due.
const sortAtOnce = 1000

// Next takes the most urgent of what is due out of the queue, until Done, but none of an owner who has its share
// of size, which is how many may be in progress at a time; the last share is spared for owners who have none. If there
// is nothing to take it returns how long to wait for the first that will be due, at most idle; 0 where it has to be
// called again, because it has sorted as many as one call may.
func (q *Queue) Next(now time.Time, idle time.Duration, size int) (domain dnsname.Name, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sorted := 0
	for ; len(q.later) > 0 && !q.later[0].At.After(now); sorted++ {
		if sorted >= sortAtOnce {
			return dnsname.Name{}, 0
		}
		if i := heap.Pop(&q.later).(Item); q.counts(i) {
			heap.Push(&q.ready, i)
		}
	}
	q.ready.order(now)
	share := fair.Share(size)
	if len(q.taken) >= size-share {
		share = 1
	}
	for ; q.ready.Len() > 0; sorted++ {
		if sorted >= sortAtOnce {
			return dnsname.Name{}, 0
		}
		i := heap.Pop(&q.ready).(Item)
		owners := fair.Of(i.Domain, i.Network)
		o, full := q.full(owners, share)
		if counts := q.counts(i); !counts || full { // else it is superseded
			if counts {
				q.park(now, o, i)
			}
			q.passOn(owners, share)
			continue
		}
		delete(q.due, i.Domain)
		q.taken[i.Domain] = owners
		for _, o := range owners {
			if o != (fair.Owner{}) {
				q.held[o]++
			}
		}
		return i.Domain, 0
	}
	if len(q.later) > 0 {
		idle = min(q.later[0].At.Sub(now), idle)
	}
	return dnsname.Name{}, idle
}

// passOn makes ready what waits for those of the owners who have fewer than share in progress: what was made ready for
// them was not taken.
func (q *Queue) passOn(owners fair.Owners, share int) {
	for _, o := range owners {
		if q.held[o] < share {
			q.unpark(o)
		}
	}
}

// full returns the first of the owners who has share or more in progress.
func (q *Queue) full(owners fair.Owners, share int) (fair.Owner, bool) {
	for _, o := range owners {
		if q.held[o] >= share {
			return o, true
		}
	}
	return fair.Owner{}, false
}

func (q *Queue) park(now time.Time, o fair.Owner, i Item) {
	h := q.parked[o]
	if h == nil {
		h = &byUrgency{}
		q.parked[o] = h
	}
	h.order(now)
	heap.Push(h, i)
}

// Sleep waits, but not past something sooner that comes into the queue.
func (q *Queue) Sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.wake:
	case <-ctx.Done():
	}
}

// Count returns how many refreshes are queued, and how many of them are due at now.
func (q *Queue) Count(now time.Time) (all, due int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range q.due {
		if !at.After(now) {
			due++
		}
	}
	return len(q.due), due
}
