package resolver

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/clock"
)

// CachedPolicy is a policy in memory: the entry, which never changes, and the marks that questions and looks at the TXT
// record leave beside it. It is a Finding.
type CachedPolicy struct {
	Entry Entry

	rendered rendered

	used    atomic.Int64 // Unix seconds of the last question, to useGrain
	checkAt atomic.Int64 // clock.Ticks: the TXT record should be looked at after this
}

const (
	// useGrain keeps questions from writing to shared memory each time.
	useGrain = 60
	// anotherDay is how long after the stored time of last use a question counts as one of another day, and is worth a
	// write.
	anotherDay = 12 * time.Hour
)

// newCachedPolicy takes an entry into memory; its TXT record should be looked at after checkAt, as checkFrom has it.
func newCachedPolicy(e Entry, checkAt time.Time) *CachedPolicy {
	h := &CachedPolicy{Entry: e}
	h.used.Store(unix(e.Used))
	h.checkFrom(checkAt)
	return h
}

// checkFrom sets when the TXT record should be looked at again, by clock.Monotonic. The zero time means with the next
// question.
func (h *CachedPolicy) checkFrom(at time.Time) { h.checkAt.Store(clock.Ticks(at)) }

// nextLook is what checkFrom was told last.
func (h *CachedPolicy) nextLook() time.Time { return clock.OfTicks(h.checkAt.Load()) }

// use marks a question at now, and reports whether it is one of another day than the one before.
func (h *CachedPolicy) use(now time.Time) (again bool) {
	n, last := now.Unix(), h.used.Load()
	if n-last >= useGrain || n < last {
		h.used.Store(n)
	}
	return n-last >= int64(anotherDay/time.Second)
}

// Used is when the policy was last asked for, within a minute; zero when never.
func (h *CachedPolicy) Used() time.Time {
	if s := h.used.Load(); s != 0 {
		return time.Unix(s, 0).UTC()
	}
	return h.Entry.Used
}

// usedAgain reports whether a question has come on another day than the one that the entry has noted.
func (h *CachedPolicy) usedAgain() bool { return h.Used().Sub(h.Entry.Used) >= anotherDay }

// usedDays is on how many days the policy was asked for, about.
func (h *CachedPolicy) usedDays() uint16 {
	if h.usedAgain() && h.Entry.UsedDays < math.MaxUint16 {
		return h.Entry.UsedDays + 1
	}
	return h.Entry.UsedDays
}

// UsedOften reports whether the policy was asked for on several days: what a flood brings was not.
func (h *CachedPolicy) UsedOften() bool { return h.usedDays() > 1 }

// marked is the entry with the marks that questions have left.
func (h *CachedPolicy) marked() Entry {
	e := h.Entry
	e.Used, e.UsedDays = h.Used(), h.usedDays()
	return e
}

// claimCheck reports to one caller that the TXT record should be looked at again at now, a time of clock.Monotonic; the
// look itself sets the next time.
func (h *CachedPolicy) claimCheck(now time.Time) bool {
	at, n := h.checkAt.Load(), clock.Ticks(now)
	return n >= at && h.checkAt.CompareAndSwap(at, n+int64(maxCheck))
}

// unix is t as Unix seconds, 0 for the zero time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// Slots is how many texts a CachedPolicy keeps at most.
const Slots = 4

// rendered holds the texts made from one Entry.
type rendered [Slots]atomic.Pointer[string]

// bytes is how much they take.
func (r *rendered) bytes() (n int64) {
	for i := range r {
		if p := r[i].Load(); p != nil {
			n += int64(len(*p) + renderedFixed)
		}
	}
	return n
}

// Rendered returns the text of a slot, 0 to Slots-1, which render makes of Entry. It is kept for the next call where
// there is room: texts of usual policies are, those of very long ones are made each time. Callers share out the slots.
func (h *CachedPolicy) Rendered(slot int, render func() string) string {
	if p := h.rendered[slot].Load(); p != nil {
		return *p
	}
	s := render()
	if h.rendered.bytes()+int64(len(s)+renderedFixed) <= h.room() {
		h.rendered[slot].Store(&s)
	}
	return s
}

const (
	// cachedFixed is about how many bytes of memory a policy takes besides its texts, the Memory's own included.
	cachedFixed = 640
	// patternFixed is the same of an mx pattern, without its name.
	patternFixed = 40
	// renderedFixed is the same of a text that is kept.
	renderedFixed = 16
	// renderedRoom is how many bytes the kept texts of a policy without any text may have, and renderedMost those of
	// any.
	renderedRoom, renderedMost = 512, 4096
)

// room is how many bytes the kept texts may have.
func (h *CachedPolicy) room() int64 {
	return int64(min(renderedRoom+len(h.Entry.Policy.Text), renderedMost))
}

// Bytes is how many bytes of memory the policy takes at most, about, with all that may be kept of it.
func (h *CachedPolicy) Bytes() int64 {
	e := &h.Entry
	n := cachedFixed + len(e.Policy.Text) + len(e.Failures.Reason) + patternFixed*cap(e.Policy.MX)
	for _, p := range e.Policy.MX {
		n += len(p.Host.String()) // it may be a part of the text, or not
	}
	return int64(n) + h.room()
}
