package lookups

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// sighting is what a run of the crowd's lookups tells of itself. Moments count what happens, in the order that it does.
type sighting struct {
	key    int
	reason Reason
	begun  int64 // the moment when it began
}

// crowd is many goroutines that ask a Group for few keys in any order that the scheduler comes upon.
type crowd struct {
	t      *testing.T
	group  *Group[int, sighting]
	moment atomic.Int64
	active [4]atomic.Int32 // runs and writers of each key
	runs   atomic.Int64
	faults atomic.Int64
	joined atomic.Int64
}

// alone fails the test when another holds the key until the returned function is called.
func (c *crowd) alone(key int) func() {
	if c.active[key].Add(1) != 1 {
		c.t.Error("two at once for a key")
	}
	return func() {
		if c.active[key].Add(-1) != 0 {
			c.t.Error("two at once for a key")
		}
	}
}

func (c *crowd) lookUp(_ context.Context, key int, reason Reason) sighting {
	defer c.alone(key)()
	c.runs.Add(1)
	seen := sighting{key, reason, c.moment.Add(1)}
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	if rand.IntN(50) == 0 {
		panic("at random")
	}
	return seen
}

// ask checks that what comes is valid for a caller who came at that moment; and asks once more where a run had begun
// before.
func (c *crowd) ask(ctx context.Context, key int, reason Reason) {
	came := c.moment.Add(1)
	r, ok := c.askOnce(ctx, key, reason)
	if ok && !r.Joined && r.Value.begun < came {
		c.t.Error("a run that began before the caller came was given out as a later one")
	}
	if !ok || !r.Joined {
		return
	}
	c.joined.Add(1)
	if r, ok = c.askOnce(ctx, key, reason); ok && r.Value.begun < came {
		c.t.Error("a caller who asked once more got a run that began before he came")
	}
}

// askOnce checks what does not depend on time; false: there was no result.
func (c *crowd) askOnce(ctx context.Context, key int, reason Reason) (Result[sighting], bool) {
	r, err := c.group.Ask(ctx, key, reason)
	var fault *PanicError
	switch {
	case errors.As(err, &fault), errors.Is(err, ErrClosed), err != nil && errors.Is(err, ctx.Err()):
	case err != nil:
		c.t.Error(err)
	case r.Value.key != key:
		c.t.Errorf("asked for %d, got %d", key, r.Value.key)
	case r.Value.reason < reason:
		c.t.Errorf("asked for %v, got a run for %v", reason, r.Value.reason)
	}
	return r, err == nil
}

func (c *crowd) visit() {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	key := rand.IntN(len(c.active))
	if rand.IntN(4) == 0 {
		go cancel() // at any moment
	}
	switch rand.IntN(6) {
	case 0:
		wrote := false
		err := c.group.Exclusive(ctx, key, func() {
			defer c.alone(key)()
			wrote = true
			runtime.Gosched()
		})
		if wrote != (err == nil) {
			c.t.Errorf("wrote: %v, but %v", wrote, err)
		}
	case 1:
		ticket := c.group.Start(key, Reason(rand.IntN(int(reasons))))
		<-ticket.Done()
	default:
		c.ask(ctx, key, Reason(rand.IntN(int(reasons))))
	}
}

// TestCrowd lets the race detector and the scheduler look for what scripts do not show: two runs at once, a caller
// who gets a weaker or an older run than he must, one who is forgotten, memory that remains.
func TestCrowd(t *testing.T) {
	c := &crowd{t: t}
	c.group = New(c.lookUp, func(int, *PanicError) { c.faults.Add(1) })
	var visitors sync.WaitGroup
	const visits = 40 * 500
	for range 40 {
		visitors.Go(func() {
			for range 500 {
				c.visit()
			}
		})
	}
	visitors.Wait()
	c.group.Close()
	if n := len(c.group.lines); n > 0 {
		t.Errorf("%d keys are still in memory", n)
	}
	for key := range c.active {
		if n := c.active[key].Load(); n != 0 {
			t.Errorf("key %d: Close returned while something ran", key)
		}
	}
	t.Logf("%d visits, %d runs, %d joined a run, %d panics", visits, c.runs.Load(), c.joined.Load(), c.faults.Load())
	if c.joined.Load() == 0 || c.faults.Load() == 0 {
		t.Error("the crowd tried too little")
	}
}

// TestCrowdAtTheEnd closes a Group while many ask.
func TestCrowdAtTheEnd(t *testing.T) {
	for range 50 {
		c := &crowd{t: t}
		c.group = New(c.lookUp, func(int, *PanicError) { c.faults.Add(1) })
		var visitors sync.WaitGroup
		for range 20 {
			visitors.Go(func() {
				for range 20 {
					c.visit()
				}
			})
		}
		for c.runs.Load() < 20 {
			runtime.Gosched()
		}
		c.group.Close()
		runs := c.runs.Load()
		visitors.Wait()
		if c.runs.Load() != runs || len(c.group.lines) > 0 {
			t.Errorf("%d runs began after Close returned; %d keys are in memory",
				c.runs.Load()-runs, len(c.group.lines))
		}
	}
}
