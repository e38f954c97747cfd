// Package clock tells the time by the wall clock, and what a time of the past is worth after the wall clock was set.
//
// A policy's life is counted by the wall clock, which alone survives a restart. But a wall clock that jumps forward, by
// a forged answer of a time server for instance, must not end all policies at once. So a Clock also follows a clock
// that cannot be set, and remembers by how much the two differed when.
//
// What lives in memory alone needs no wall clock: it goes by Monotonic.
package clock

import (
	"sync"
	"time"
)

const (
	// slack is how far the wall clock may move against the other one before that counts as a jump.
	slack = time.Minute
	// jumpTrust is how long after a jump the wall clock is not trusted to end anything.
	jumpTrust = 24 * time.Hour
	// startTrust is the same after the start: the host may just have booted, with its clock still to be set.
	startTrust = 2 * time.Hour
	// maxFrames bounds how many jumps are remembered.
	maxFrames = 64
)

// Clock is a wall clock that notices when it is set. Make it with New. It is safe for concurrent use.
type Clock struct {
	wall   func() time.Time
	boot   func() time.Duration
	jumped func(by time.Duration)

	mu     sync.Mutex
	frames []frame       // the present one last; each is ahead of those before it
	trust  time.Duration // by boot: from then on the wall clock is trusted
}

// frame is a span in which the wall clock was not set.
type frame struct {
	from  time.Time // by the wall clock; the first has no beginning
	epoch time.Time // what the wall clock would have shown when boot was zero
}

// New makes a Clock. wall is UTC without a monotonic reading. boot is the time since some moment in the past, and is
// never set; nil: Go's monotonic clock, which stops while the host sleeps. jumped, if not nil, is called after the wall
// clock was found to have been set.
func New(wall func() time.Time, boot func() time.Duration, jumped func(by time.Duration)) *Clock {
	if boot == nil {
		start := time.Now()
		boot = func() time.Duration { return time.Since(start) }
	}
	if jumped == nil {
		jumped = func(time.Duration) {}
	}
	c := &Clock{wall: wall, boot: boot, jumped: jumped}
	since := boot()
	c.frames, c.trust = []frame{{epoch: wall().Add(-since)}}, since+startTrust
	return c
}

// Now is the wall clock.
func (c *Clock) Now() time.Time { return c.wall() }

// At returns the time now as the wall clock would show it that has shown t, had it not been set forward since; never
// later than the wall clock does. What was to last until some time after t lasts while At is before that.
func (c *Clock) At(t time.Time) time.Time {
	wall, boot := c.observe()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.frames) - 1; i >= 0; i-- {
		f := c.frames[i]
		if t.Before(f.from) {
			continue
		}
		if at := f.epoch.Add(boot); wall.Sub(at) > slack && !t.After(at) {
			return at
		}
		break
	}
	return wall
}

// Steady reports whether the wall clock can be trusted to end what it says is over.
func (c *Clock) Steady() bool {
	_, boot := c.observe()
	c.mu.Lock()
	defer c.mu.Unlock()
	return boot >= c.trust
}

// Observe notices whether the wall clock was set. Call it before a time is kept for later.
func (c *Clock) Observe() { c.observe() }

func (c *Clock) observe() (wall time.Time, boot time.Duration) {
	c.mu.Lock()
	wall, boot = c.wall(), c.boot()
	by := c.move(wall, boot)
	c.mu.Unlock()
	if by != 0 {
		c.jumped(by)
	}
	return wall, boot
}

// move begins another frame if the wall clock was set, and returns by how much.
func (c *Clock) move(wall time.Time, boot time.Duration) (by time.Duration) {
	epoch := wall.Add(-boot)
	if by = epoch.Sub(c.last().epoch); by.Abs() <= slack {
		return 0
	}
	c.trust = boot + jumpTrust
	for len(c.frames) > 1 && c.last().epoch.After(epoch.Add(slack)) {
		c.frames = c.frames[:len(c.frames)-1] // it was set back
	}
	switch ahead := epoch.Sub(c.last().epoch); {
	case ahead < -slack: // behind all that was known
		c.frames = []frame{{epoch: epoch}}
	case ahead > slack:
		if len(c.frames) == maxFrames {
			c.frames = append(c.frames[:1], c.frames[2:]...)
		}
		c.frames = append(c.frames, frame{from: wall, epoch: epoch})
	}
	return by
}

func (c *Clock) last() frame { return c.frames[len(c.frames)-1] }
