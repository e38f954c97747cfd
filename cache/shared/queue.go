package shared

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// maxQueued bounds what waits for the engine. What finds no room is pushed when it is fetched again.
	maxQueued = 100_000
	// pushesAtOnce is how many waiting values are under way at once.
	pushesAtOnce = 32
	// pushPatience is how long the engine must have been well before what waits is pushed: the other hosts must be
	// listening again.
	pushPatience = 1500 * time.Millisecond
)

// queue holds what waits for the engine: the newest value of each domain.
type queue struct {
	values *values

	mu      sync.Mutex
	waiting map[dnsname.Name]outgoing
	dropped atomic.Uint64
}

func newQueue(v *values) *queue { return &queue{values: v, waiting: map[dnsname.Name]outgoing{}} }

func (q *queue) add(w outgoing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.waiting[w.domain]; !known && len(q.waiting) >= maxQueued {
		q.dropped.Add(1)
		return
	}
	q.waiting[w.domain] = w
}

func (q *queue) drop(domain dnsname.Name) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, domain)
}

// done takes a value off the queue, unless there is another by now.
func (q *queue) done(w outgoing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[w.domain].value == w.value {
		delete(q.waiting, w.domain)
	}
}

// all is what waits.
func (q *queue) all() []outgoing {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]outgoing, 0, len(q.waiting))
	for _, w := range q.waiting {
		all = append(all, w)
	}
	return all
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// push writes a value now, or queues it while the engine fails. It ignores that ctx ends: that the caller no longer
// waits is no reason to lose the value.
func (q *queue) push(ctx context.Context, w outgoing) {
	if q.values.put(context.WithoutCancel(ctx), w) == nil {
		q.drop(w.domain) // whatever waits is older
		return
	}
	q.add(w)
}

// flush pushes what waits, as long as the engine takes it.
func (q *queue) flush() {
	e := q.values.engine
	if since, ok := e.health.well(); !ok || e.now().Sub(since).Abs() < pushPatience {
		return
	}
	pushes, ctx := errgroup.WithContext(e.ctx)
	pushes.SetLimit(pushesAtOnce)
	for _, w := range q.all() {
		if ctx.Err() != nil {
			break
		}
		pushes.Go(func() error {
			err := q.values.put(ctx, w)
			if err == nil {
				q.done(w)
			}
			return err
		})
	}
	_ = pushes.Wait() // what failed waits for the next time
}
