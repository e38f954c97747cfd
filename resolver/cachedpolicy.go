package resolver

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// CachedPolicy is a policy in memory: the entry, which never changes, and the marks that questions and looks at the TXT
// record leave beside it. It is a Finding.
type CachedPolicy struct {
	packed

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

// NewCachedPolicy takes an entry into memory; its TXT record should be looked at after checkAt, with the next question
// where that is zero. An id of more than 255 bytes, which no TXT record has, counts as none.
func NewCachedPolicy(e Entry, checkAt time.Time) *CachedPolicy {
	h := &CachedPolicy{packed: pack(e)}
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
	return time.Time{}
}

// usedAgain reports whether a question has come on another day than the one that the entry has noted.
func (h *CachedPolicy) usedAgain() bool { return h.Used().Sub(h.noted.time()) >= anotherDay }

// days is on how many days the policy was asked for, about.
func (h *CachedPolicy) days() uint16 {
	if h.usedAgain() && h.usedDays < math.MaxUint16 {
		return h.usedDays + 1
	}
	return h.usedDays
}

// UsedOften reports whether the policy was asked for on several days: what a flood brings was not.
func (h *CachedPolicy) UsedOften() bool { return h.days() > 1 }

// marked is the entry with the marks that questions have left.
func (h *CachedPolicy) marked() Entry {
	e := h.Entry()
	e.Used, e.UsedDays = h.Used(), h.days()
	return e
}

// claimCheck reports to one caller that the TXT record should be looked at again at now, a time of clock.Monotonic; the
// look itself sets the next time.
func (h *CachedPolicy) claimCheck(now time.Time) bool {
	at, n := h.checkAt.Load(), clock.Ticks(now)
	return n >= at && h.checkAt.CompareAndSwap(at, n+int64(maxCheck))
}

// packed is an entry in little room, since there may be hundreds of thousands.
type packed struct {
	domain   dnsname.Name
	texts    string // the id and the policy's text, one behind the other
	rare     *rare  // nil: nothing of it
	fetched  packedTime
	checked  packedTime
	noted    packedTime // Entry.Used
	network  fair.Network
	maxAge   uint32 // seconds
	usedDays uint16
	idLen    uint8
	mode     mtasts.Mode
}

// rare is what few entries have.
type rare struct {
	failures FetchFailures
	origin   string
}

func pack(e Entry) packed {
	if len(e.ID) > math.MaxUint8 {
		e.ID = ""
	}
	p := packed{
		domain: e.Domain, texts: e.ID + e.Policy.Text, idLen: uint8(len(e.ID)), fetched: packTime(e.Fetched),
		checked: packTime(e.Checked), noted: packTime(e.Used), network: e.Network,
		maxAge: uint32(e.Policy.MaxAge / time.Second), usedDays: e.UsedDays, mode: e.Policy.Mode,
	}
	if e.Failures != (FetchFailures{}) || e.Origin != "" {
		p.rare = &rare{e.Failures, e.Origin}
	}
	return p
}

// Entry is the entry that was taken into memory.
func (p *packed) Entry() Entry {
	e := Entry{
		Domain: p.domain, ID: p.texts[:p.idLen], Policy: p.Policy(), Fetched: p.fetched.time(),
		Checked: p.checked.time(), Used: p.noted.time(), UsedDays: p.usedDays, Network: p.network,
	}
	if p.rare != nil {
		e.Failures, e.Origin = p.rare.failures, p.rare.origin
	}
	return e
}

// Domain is the policy's domain.
func (p *packed) Domain() dnsname.Name { return p.domain }

// Policy is the policy itself.
func (p *packed) Policy() mtasts.Policy {
	return mtasts.Policy{Mode: p.mode, MaxAge: time.Duration(p.maxAge) * time.Second, Text: p.texts[p.idLen:]}
}

// Fetched is when the policy was fetched last.
func (p *packed) Fetched() time.Time { return p.fetched.time() }

// term is for how long the policy binds.
func (p *packed) term() term { return term{p.fetched.time(), time.Duration(p.maxAge) * time.Second} }

// packedTime is a time in Unix nanoseconds, 0 for the zero time. What lies beyond the years 1678 to 2262 counts as
// their end.
type packedTime int64

func packTime(t time.Time) packedTime {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return packedTime(t.UnixNano())
}

func (t packedTime) time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t)).UTC()
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

// Rendered returns the text of a slot, 0 to Slots-1, which render makes of the entry. It is kept for the next call
// where there is room: texts of usual policies are, those of very long ones are made each time. Callers share out the
// slots.
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
	cachedFixed = 320
	// rareFixed is the same of what few policies have.
	rareFixed = 128
	// renderedFixed is the same of a text that is kept.
	renderedFixed = 16
	// renderedRoom is how many bytes the kept texts of a policy without any text may have, and renderedMost those of
	// any.
	renderedRoom, renderedMost = 512, 4096
)

// room is how many bytes the kept texts may have.
func (h *CachedPolicy) room() int64 { return int64(min(renderedRoom+len(h.texts), renderedMost)) }

// Bytes is how many bytes of memory the policy takes at most, about, with all that may be kept of it.
func (h *CachedPolicy) Bytes() int64 {
	n := int64(cachedFixed + len(h.texts))
	if h.rare != nil {
		n += int64(rareFixed + len(h.rare.failures.ID) + len(h.rare.failures.Reason))
	}
	return n + h.room()
}
