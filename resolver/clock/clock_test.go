package clock

import (
	"testing"
	"time"
)

const day = 24 * time.Hour

// hands are the two clocks of a test.
type hands struct {
	wall time.Time
	boot time.Duration
}

func newHands() *hands { return &hands{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 5 * time.Hour} }

func (h *hands) clock(jumped func(time.Duration)) *Clock {
	return New(func() time.Time { return h.wall }, func() time.Duration { return h.boot }, jumped)
}

// pass lets time go by; set sets the wall clock by that much.
func (h *hands) pass(d time.Duration) { h.wall, h.boot = h.wall.Add(d), h.boot+d }
func (h *hands) set(d time.Duration)  { h.wall = h.wall.Add(d) }

// TestAt: how old a time of the past is, after the wall clock was set in between.
func TestAt(t *testing.T) {
	for _, c := range []struct {
		why  string
		sets []time.Duration // one a day
		// the age of what was kept before all of them, and of what was kept just after the first one; -1: as the wall
		// clock says
		before, after time.Duration
	}{
		{"never set", nil, 0, -1},
		{"forward", []time.Duration{8 * day}, day, day},
		{"forward by little", []time.Duration{slack}, -1, -1},
		{"forward in small steps", []time.Duration{slack, slack, slack}, 3 * day, 3*day - slack},
		{"forward twice", []time.Duration{8 * day, 300 * day}, 2 * day, 2 * day},
		{"forward and right again", []time.Duration{8 * day, -8 * day}, 2 * day, -1},
		{"forward and half of it back", []time.Duration{16 * day, -8 * day}, 2 * day, -1},
		{"back", []time.Duration{-8 * day}, -1, day},
		{"back and right again", []time.Duration{-8 * day, 8 * day}, -1, 2 * day},
	} {
		h := newHands()
		k := h.clock(nil)
		before, after := h.wall, time.Time{}
		for i, by := range c.sets {
			h.set(by)
			k.Observe()
			if i == 0 {
				after = h.wall
			}
			h.pass(day)
		}
		for kept, want := range map[time.Time]time.Duration{before: c.before, after: c.after} {
			if want < 0 {
				want = h.wall.Sub(kept)
			}
			if got := k.At(kept).Sub(kept); got != want && !kept.IsZero() {
				t.Errorf("%s: what was kept at %v is %v old, want %v", c.why, kept, got, want)
			}
		}
	}
}

// TestAtNeverMakesImmortal: what was kept by a clock that ran ahead at the start, or is of a time that is still to
// come, is as old as the wall clock says.
func TestAtNeverMakesImmortal(t *testing.T) {
	h := newHands()
	right := h.wall
	h.set(-50 * 365 * day) // a host without a battery
	k := h.clock(nil)
	h.pass(time.Minute)
	h.set(50 * 365 * day)
	if at := k.At(right.Add(-day)); !at.Equal(h.wall) {
		t.Errorf("what an earlier process has kept counts by %v, the wall clock says %v", at, h.wall)
	}
	for range 3 * maxFrames {
		h.pass(time.Minute)
		h.set(day)
		k.Observe()
	}
	if len(k.frames) > maxFrames {
		t.Errorf("%d jumps are remembered", len(k.frames))
	}
}

func TestSteady(t *testing.T) {
	h := newHands()
	var jumps []time.Duration
	k := h.clock(func(by time.Duration) { jumps = append(jumps, by) })
	want := func(why string, steady bool) {
		t.Helper()
		if got := k.Steady(); got != steady {
			t.Errorf("%s: steady %v", why, got)
		}
	}
	want("at the start", false)
	h.pass(startTrust)
	want("two hours later", true)
	h.set(-time.Hour)
	want("set back", false)
	h.pass(jumpTrust - time.Second)
	want("nearly a day later", false)
	h.pass(time.Second)
	want("a day later", true)
	h.set(8 * day)
	want("set forward", false)
	if len(jumps) != 2 || jumps[0] != -time.Hour || jumps[1] != 8*day {
		t.Errorf("told of the jumps %v", jumps)
	}
}

// TestMonotonicIsNotTheWallClock: without a monotonic reading, times would go by the wall clock, which may be set.
func TestMonotonicIsNotTheWallClock(t *testing.T) {
	now := Monotonic()
	for _, m := range []time.Time{now, OfTicks(Ticks(now))} {
		if m == m.Round(0) || !m.Equal(now) {
			t.Errorf("%v, at %v", m, now)
		}
	}
}

// TestBoot: it goes forward.
func TestBoot(t *testing.T) {
	if a, b := Boot(), Boot(); a <= 0 || b < a {
		t.Errorf("%v, then %v", a, b)
	}
}
