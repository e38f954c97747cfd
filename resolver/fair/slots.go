package fair

import (
	"container/list"
	"context"
	"math"
	"sync"
)

// Slots are a bounded number of slots. Of those who wait for one, the next is whose owners have the fewest, and of
// equals the one that has waited longest. No owner has more than its share of the slots at a time: what is slow holds
// up itself. As many slots are spared for owners who have none: so some slow owners together do not hold up others,
// unless they are as many as there are slots. Make Slots with New. They are safe for concurrent use.
type Slots struct {
	mu      sync.Mutex
	size    int
	share   int // of one owner
	spared  int // for owners who have none
	taken   int
	held    map[Owner]int
	queues  map[Owners]*list.Element // of waiting
	waiting list.List                // of *queue, the one that was served longest ago first
}

// queue is who waits with the same owners, in order.
type queue struct {
	owners Owners
	first  list.List // of chan struct{}, which are closed when the slot is theirs
}

// Share is the share of one owner in slots that may be taken for a long time: a quarter, and one at least.
func Share(size int) int { return max(size/4, 1) }

// New returns so many slots, of which one owner has at most share. With share = size none are spared.
func New(size, share int) *Slots {
	spared := share
	if share == size {
		spared = 0
	}
	return &Slots{size: size, share: share, spared: spared, held: map[Owner]int{}, queues: map[Owners]*list.Element{}}
}

// Acquire waits for a slot, and takes it on the account of the owners, until release is called, once. The error is the
// cause of ctx's end.
func (s *Slots) Acquire(ctx context.Context, owners Owners) (release func(), err error) {
	release = func() { s.release(owners) }
	s.mu.Lock()
	if s.has(owners) {
		s.take(owners)
		s.mu.Unlock()
		return release, nil
	}
	turn := make(chan struct{})
	q, place := s.enter(owners, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return release, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-turn: // at the same moment
		s.give(owners)
	default:
		q.first.Remove(place)
		s.closeEmpty(q)
	}
	return nil, context.Cause(ctx)
}

// TryAcquire is Acquire without waiting; false: there is no slot.
func (s *Slots) TryAcquire(owners Owners) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(owners) {
		return nil, false
	}
	s.take(owners)
	return func() { s.release(owners) }, true
}

// has reports whether there is a slot for the owners. Where there is one, nobody waits who could take it.
func (s *Slots) has(owners Owners) bool { return s.taken < s.size && s.most(owners) < s.limit() }

// limit is how many slots an owner must have fewer than to get another.
func (s *Slots) limit() int {
	if s.taken >= s.size-s.spared {
		return 1
	}
	return s.share
}

// most is how many slots the one of the owners has that has most.
func (s *Slots) most(owners Owners) (n int) {
	for _, o := range owners {
		n = max(n, s.held[o])
	}
	return n
}

func (s *Slots) take(owners Owners) {
	s.taken++
	for _, o := range owners {
		if o != (Owner{}) {
			s.held[o]++
		}
	}
}

func (s *Slots) release(owners Owners) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.give(owners)
}

// give gives a slot back, and gives it to the next who may have it.
func (s *Slots) give(owners Owners) {
	s.taken--
	for _, o := range owners {
		if s.held[o]--; s.held[o] <= 0 {
			delete(s.held, o)
		}
	}
	for s.taken < s.size {
		next := s.next()
		if next == nil {
			return
		}
		q := next.Value.(*queue)
		s.take(q.owners)
		close(q.first.Remove(q.first.Front()).(chan struct{}))
		s.waiting.MoveToBack(next)
		s.closeEmpty(q)
	}
}

// next is the queue whose owners have the fewest slots, nil where none may have one: where the owner with the most of
// each has equally many, as those of one network, the other owner decides. It looks no further than to the first that
// has none: those before it have some, so that they are not many more than there are slots.
func (s *Slots) next() (best *list.Element) {
	limit, fewest := s.limit(), math.MaxInt
	for e := s.waiting.Front(); e != nil && fewest > 0; e = e.Next() {
		owners := e.Value.(*queue).owners
		most := s.most(owners)
		if n := most*(2*s.size+1) + s.held[owners[0]] + s.held[owners[1]]; most < limit && n < fewest {
			best, fewest = e, n
		}
	}
	return best
}

func (s *Slots) enter(owners Owners, turn chan struct{}) (*queue, *list.Element) {
	e := s.queues[owners]
	if e == nil {
		e = s.waiting.PushBack(&queue{owners: owners})
		s.queues[owners] = e
	}
	q := e.Value.(*queue)
	return q, q.first.PushBack(turn)
}

func (s *Slots) closeEmpty(q *queue) {
	if q.first.Len() == 0 {
		s.waiting.Remove(s.queues[q.owners])
		delete(s.queues, q.owners)
	}
}
