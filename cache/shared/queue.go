package shared

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"
	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// outgoing is a value on its way to the engine.
type outgoing struct {
	domain dnsname.Name
	value  value
	quiet  bool // the other hosts are not told
}

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
	mu      sync.Mutex
	waiting map[dnsname.Name]outgoing
	dropped atomic.Uint64
}

func newQueue() queue { return queue{waiting: map[dnsname.Name]outgoing{}} }

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

// push writes a value now, or has it wait for the engine. That it comes too late, because its host ends, is no reason
// to give up.
func (s *Fleet) push(ctx context.Context, w outgoing) {
	if s.put(context.WithoutCancel(ctx), w) == nil {
		s.queue.drop(w.domain) // whatever waits is older
		return
	}
	s.queue.add(w)
}

// put writes a value now.
func (s *Fleet) put(ctx context.Context, w outgoing) error {
	return s.use(ctx, &s.health.writes, func(ctx context.Context, c valkey.Client) error {
		stored, err := s.store(ctx, c, w)
		switch {
		case err != nil:
			s.stats.unwritten.Add(1)
		case stored:
			s.stats.stored.Add(1)
		default:
			s.stats.stale.Add(1)
		}
		return err
	})
}

// flush pushes what waits, as long as the engine takes it.
func (s *Fleet) flush() {
	if since, ok := s.health.well(); !ok || s.now().Sub(since).Abs() < pushPatience {
		return
	}
	pushes, ctx := errgroup.WithContext(s.ctx)
	pushes.SetLimit(pushesAtOnce)
	for _, w := range s.queue.all() {
		if ctx.Err() != nil {
			break
		}
		pushes.Go(func() error {
			err := s.put(ctx, w)
			if err == nil {
				s.queue.done(w)
			}
			return err
		})
	}
	_ = pushes.Wait() // what failed waits for the next time
}
