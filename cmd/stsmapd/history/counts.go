package history

import (
	"maps"
	"time"
)

// Counts are numbers of things that happened, by name.
type Counts map[string]uint64

// track has the counts of each slot of a period in which something happened, by the slot's number since 1970.
type track map[int64]Counts

// Period is a span of time that ends now, in slots of equal width.
type Period struct {
	Width time.Duration
	Slots int
}

// Day is the last 24 hours, in slots of 5 minutes.
func Day() Period { return Period{5 * time.Minute, 24 * 12} }

// Fortnight is the last 14 days, in slots of an hour.
func Fortnight() Period { return Period{time.Hour, 14 * 24} }

func (p Period) slot(t time.Time) int64 { return t.Unix() / int64(p.Width/time.Second) }

func (t track) merge(more track) {
	for slot, counts := range more {
		for name, n := range counts {
			t.add(slot, name, n)
		}
	}
}

func (t track) add(slot int64, name string, n uint64) {
	if t[slot] == nil {
		t[slot] = Counts{}
	}
	t[slot][name] += n
}

// Sample adds what counters have counted since the last sample. They start at 0 with the Recorder, and never decrease.
func (r *Recorder) Sample(now time.Time, counters Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range counters {
		if before := r.last[name]; n > before {
			r.kept.Day.add(Day().slot(now), name, n-before)
			r.kept.Fortnight.add(Fortnight().slot(now), name, n-before)
			r.changed = true
		}
	}
	r.last, r.sampled = maps.Clone(counters), now
	r.prune(now)
}

// Sampled returns when the last sample was taken; the zero time: never.
func (r *Recorder) Sampled() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sampled
}

// prune removes slots before the periods, and those of a clock that ran ahead.
func (r *Recorder) prune(now time.Time) {
	for _, of := range []struct {
		track  track
		period Period
	}{{r.kept.Day, Day()}, {r.kept.Fortnight, Fortnight()}} {
		last := of.period.slot(now)
		maps.DeleteFunc(of.track, func(slot int64, _ Counts) bool {
			return slot > last || slot <= last-int64(of.period.Slots)
		})
	}
}

// Slots returns the counts of each slot of Day or Fortnight, the oldest first.
func (r *Recorder) Slots(now time.Time, p Period) []Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.kept.Day
	if p == Fortnight() {
		from = r.kept.Fortnight
	}
	all := make([]Counts, p.Slots)
	first := p.slot(now) - int64(p.Slots) + 1
	for i := range all {
		all[i] = maps.Clone(from[first+int64(i)])
	}
	return all
}

// Since returns the counts of the last time d, which is at most a day, and of up to 5 minutes before.
func (r *Recorder) Since(now time.Time, d time.Duration) Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum, first, last := Counts{}, Day().slot(now.Add(-d)), Day().slot(now)
	for slot, counts := range r.kept.Day {
		if slot < first || slot > last {
			continue
		}
		for name, n := range counts {
			sum[name] += n
		}
	}
	return sum
}
