package resolver

import (
	"container/heap"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// agenda holds the refreshes that are due before the next scan of the store, soonest first. Later ones are left to that
// scan, so that a million policies cost no memory here.
type refreshQueue struct {
	mu      sync.Mutex
	horizon time.Time // what is due after this is not held
	queue   dueQueue
	due     map[dnsname.Name]time.Time // the one time that counts for a domain
	granted map[dnsname.Name]bool      // taken, and not yet done
	wake    chan struct{}              // tells that there may be something sooner
}

type dueItem struct {
	domain dnsname.Name
	at     time.Time
}

func newRefreshQueue() *refreshQueue {
	return &refreshQueue{due: map[dnsname.Name]time.Time{}, granted: map[dnsname.Name]bool{},
		wake: make(chan struct{}, 1)}
}

// extend moves the horizon.
func (a *refreshQueue) extend(horizon time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.horizon = horizon
}

// put sets a domain's time, over any that it had.
func (a *refreshQueue) add(domain dnsname.Name, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.After(a.horizon) {
		delete(a.due, domain)
		return
	}
	if old, ok := a.due[domain]; ok && old.Equal(at) {
		return
	}
	a.due[domain] = at
	heap.Push(&a.queue, dueItem{domain, at})
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// drop takes a domain off the agenda.
func (a *refreshQueue) drop(domain dnsname.Name) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.due, domain)
}

// grants reports whether the domain's refresh has been taken and is not done. Only then may a policy be fetched because
// it is due: so the rate of refreshes is one bound, whoever notices that they are due.
func (a *refreshQueue) grants(domain dnsname.Name) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.granted[domain]
}

// done ends what take began.
func (a *refreshQueue) done(domain dnsname.Name) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.granted, domain)
}

// take grants and returns a domain whose time has come; else it returns how long to wait for the first, at most idle.
func (a *refreshQueue) next(now time.Time, idle time.Duration) (domain dnsname.Name, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 {
		first := a.queue[0]
		if at, ok := a.due[first.domain]; !ok || !at.Equal(first.at) {
			heap.Pop(&a.queue) // superseded
			continue
		}
		if wait := first.at.Sub(now); wait > 0 {
			return dnsname.Name{}, min(wait, idle)
		}
		heap.Pop(&a.queue)
		delete(a.due, first.domain)
		a.granted[first.domain] = true
		return first.domain, 0
	}
	return dnsname.Name{}, idle
}

// dueQueue is a heap of dueItem, soonest first.
type dueQueue []dueItem

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q dueQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) { *q = append(*q, x.(dueItem)) }

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}
