package resolver

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	minDANETTL     = time.Minute // a finding serves so long without a new lookup, at least
	maxDANETTL     = time.Hour   // and at most
	daneGrace      = time.Hour   // after that, it serves while lookups fail: a resolver's restart stops no mail
	minDANERetry   = 10 * time.Second
	maxDANERetry   = time.Minute
	maxDANEEntries = 100_000 // domains remembered; only those with a live policy come here
	// daneClockSlack is how far in the future a time may lie before the clock must have been set back. A lookup may
	// end, and write down the time, between another question's look at the clock and its look at the memory.
	daneClockSlack = time.Minute
)

// daneEntry is what is remembered of one domain. The zero daneEntry is nothing.
type daneEntry struct {
	status DANEStatus // DANEUnasked: nothing has been found yet; never DANEFailed
	found  time.Time
	ttl    time.Duration // from minDANETTL to maxDANETTL

	failures int       // of lookups since found
	tried    time.Time // the last of them
	err      error     // its reason
	alerted  time.Time // when it was last logged that the domain's mail is deferred

	claimed time.Time // when a renewal began
}

// daneNext is what is to be done about a domain.
type daneNext uint8

const (
	daneRest  daneNext = iota // nothing: the finding is the one to use
	daneRenew                 // use the finding, and look in the background
	daneLook                  // there is no finding: look now
)

// read returns what is known of the domain, and what to do about it.
func (e daneEntry) read(now time.Time) (DANEFinding, daneNext) {
	resting := e.failures > 0 && within(now, e.tried, daneRetry(e.failures))
	switch {
	case e.serves(now):
		if resting || within(now, e.found, e.ttl) {
			return DANEFinding{Status: e.status}, daneRest
		}
		return DANEFinding{Status: e.status}, daneRenew
	case resting:
		return daneFailed(e.err), daneRest
	default:
		return DANEFinding{}, daneLook
	}
}

// serves reports whether the finding may be used, fresh or not.
func (e daneEntry) serves(now time.Time) bool {
	return e.status != DANEUnasked && within(now, e.found, e.ttl+daneGrace)
}

// next is the entry after a lookup that came to status and err, as judgeDANE returns them, from records of that TTL. A
// failure leaves what was found.
func (e daneEntry) next(now time.Time, status DANEStatus, err error, ttl time.Duration) daneEntry {
	if status == DANEFailed {
		e.failures++
		e.tried, e.err = now, err
		return e
	}
	return daneEntry{status: status, found: now, ttl: min(max(ttl, minDANETTL), maxDANETTL)}
}

// daneRetry is the time without lookups after so many failures: 10 s, doubling to 1 minute.
func daneRetry(failures int) time.Duration {
	d := minDANERetry
	for i := 1; i < failures && d < maxDANERetry; i++ {
		d *= 2
	}
	return min(d, maxDANERetry)
}

// within reports whether now is less than d after t. A time far in the future is not: the clock has been set back, and
// what was then must not last for ever.
func within(now, t time.Time, d time.Duration) bool {
	age := now.Sub(t)
	return age >= -daneClockSlack && age < d
}

// daneShards is how many locks share out the questions: no two of them often want the same one at once.
const daneShards = 64

// daneMemory remembers the entries of many domains.
type daneMemory struct {
	seed   maphash.Seed
	shards [daneShards]*daneShard
}

// newDANEMemory makes a memory of about limit domains.
func newDANEMemory(limit int) *daneMemory {
	m := &daneMemory{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i] = newDANEShard(limit/daneShards + 1)
	}
	return m
}

func (m *daneMemory) of(domain Destination) *daneShard {
	return m.shards[maphash.String(m.seed, domain.Domain.String())%daneShards]
}

func (m *daneMemory) get(domain Destination) daneEntry    { return m.of(domain).get(domain) }
func (m *daneMemory) put(domain Destination, e daneEntry) { m.of(domain).put(domain, e) }
func (m *daneMemory) claim(domain Destination, now time.Time) bool {
	return m.of(domain).claim(domain, now)
}

// daneShard holds the entries of at most limit domains.
type daneShard struct {
	limit   int
	mu      sync.Mutex
	entries map[Destination]daneEntry
}

func newDANEShard(limit int) *daneShard {
	return &daneShard{limit: limit, entries: map[Destination]daneEntry{}}
}

// get returns the domain's entry, the zero one if there is none.
func (m *daneShard) get(domain Destination) daneEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[domain]
}

// put remembers the entry; if there are too many, another is forgotten, whichever the map comes upon.
func (m *daneShard) put(domain Destination, e daneEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.entries[domain]; !known && len(m.entries) >= m.limit {
		for other := range m.entries {
			delete(m.entries, other)
			break
		}
	}
	m.entries[domain] = e
}

// claim reports whether the caller may renew the domain's finding: nobody else began to within the time that it takes.
func (m *daneShard) claim(domain Destination, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.entries[domain]
	if !known || within(now, e.claimed, daneLookupLimit) {
		return false
	}
	e.claimed = now
	m.entries[domain] = e
	return true
}
