package model

import (
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// lookBegins notes that the service asks for the TXT record. Here and below, gen is the generation of the daemon.
func (m *Model) lookBegins(n, gen int) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.endFlight()
	old := d.look
	if old.gen != gen {
		old.recent = [3]time.Time{} // a new daemon knows nothing of the lookups of the one before
	}
	if old.flight || old.fetching {
		m.violate("exclusive", "%s: a lookup began while another was running", Domain(n))
	}
	h, sure := d.only()
	steady := sure && m.lives(h, m.wall()) && h.file.MaxAge > time.Minute && !d.toBeForgotten(h) && d.refreshes == 0
	if fourth := m.now().Sub(old.recent[0]); steady && fourth < minLook-time.Second && !old.recent[0].IsZero() {
		m.violate("lookups", "%s: four lookups of the TXT record within %v", Domain(n), fourth)
	}
	dead := sure && !m.mayLive(h, m.wall(), m.wall())
	d.look = look{dead: dead, flight: true, gen: gen, recent: [3]time.Time{old.recent[1], old.recent[2], m.now()},
		ended: old.ended, state: old.state, id: old.id, ttl: old.ttl}
	d.mustLook, d.mustFetch = false, false
	m.fromTheFuture(d)
}

// fromTheFuture notes that the service now counts a policy of a future time as one of now.
func (m *Model) fromTheFuture(d *domain) {
	wall := m.wall()
	if m.now().Sub(m.stepped) <= diskPatience {
		return // the service may have waited for a slow disk since before the clock was set
	}
	for i := range d.held {
		if h := &d.held[i]; h.high.After(wall) {
			h.high, h.low, h.at = wall, earliest(h.low, wall), m.now()
		}
	}
}

// Bounds of the time between two looks at the TXT record of a policy in use, and for which a denial is remembered.
const (
	minLook     = 5 * time.Second
	maxLook     = 5 * time.Minute
	failLook    = time.Minute
	minNegative = time.Minute
	maxNegative = time.Hour
	maxRetry    = 15 * time.Minute // of failed lookups
	minBackoff  = 5 * time.Minute  // between two fetches of an id whose policy cannot be fetched
	maxBackoff  = time.Hour
	hostLook    = 10 * time.Second // between two looks that fail for want of what waiting does not bring
	hostFetch   = time.Minute      // between two refreshes that fail so
	// diskPatience is how long the service waits for a write.
	diskPatience = 10 * time.Second
)

// lookCancelled notes that the service gave the lookup up.
func (m *Model) lookCancelled(n, gen int) {
	if gen == m.gen {
		m.domains[n].look.flight = false
	}
}

// looked notes the answer of the DNS.
func (m *Model) looked(n, gen int, state TXTState, id string, ttl time.Duration) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	wall := m.wall()
	d.look.flight, d.look.ended, d.look.state, d.look.id, d.look.ttl = false, m.now(), state, id, ttl
	if state != TXTAnnounced {
		d.look.id = ""
	}
	if state != TXTServfail {
		m.worked = m.now()
	}
	h, sure := d.only()
	if sure && m.lives(h, wall) {
		d.failures = 0
		d.mustFetch = state == TXTAnnounced && id != h.id && !m.mayBackOff(d, id)
		if d.toBeForgotten(h) || !h.low.After(d.fleet.ended) { // the lookup finds that another host has ended it
			m.deny(d, state, id, ttl)
		}
		return
	}
	m.deny(d, state, id, ttl)
	d.mustFetch = sure && d.look.dead && !m.mayLive(h, wall, wall) && state == TXTAnnounced && !m.mayBackOff(d, id)
}

// The states of a TXT record that could not be looked at, or whose policy could not be fetched, for want of what the
// host lacks.
const (
	txtUnseen  TXTState = "unseen"  // what waiting does not bring
	txtUnasked TXTState = "unasked" // descriptors
)

// lookFailedHere notes that the host lacks what a DNS lookup needs.
func (m *Model) lookFailedHere(n, gen int, kind fault.Kind) {
	if gen == m.gen {
		m.domains[n].look.flight = false
		m.failedHere(n, kind)
	}
}

// fetchFailedHere notes that the host lacks what a fetch needs.
func (m *Model) fetchFailedHere(n, gen int, kind fault.Kind) {
	if gen == m.gen {
		m.domains[n].look.fetching = false
		m.domains[n].fleet.hostFault = true
		m.failedHere(n, kind)
	}
}

// failedHere notes that nothing was learnt of the domain. Where nothing lives, its mail waits if descriptors are
// lacking, and is delivered otherwise.
func (m *Model) failedHere(n int, kind fault.Kind) {
	d := &m.domains[n]
	wall := m.wall()
	d.hostFault = m.now()
	d.look.ended, d.look.id, d.look.state = m.now(), "", txtUnseen
	r := denial{cause: hostLacks, at: m.now(), until: m.now().Add(hostLook)}
	if kind == fault.Exhausted {
		d.look.state = txtUnasked
		r = denial{cause: hostExhausted, at: m.now(), until: m.now()}
	}
	if h, sure := d.only(); !sure || !m.lives(h, wall) {
		d.addDenial(r)
	}
}

// deny notes the result of a look for a domain that may have no live policy.
func (m *Model) deny(d *domain, state TXTState, id string, ttl time.Duration) {
	switch {
	case state == TXTServfail:
		d.failures++
		d.addDenial(denial{cause: dnsFailed, at: m.now(),
			until: m.now().Add(min(time.Minute<<min(d.failures-1, 4), maxRetry))})
	case state == TXTGone:
		d.failures = 0
		d.addDenial(denial{at: m.now(), until: m.now().Add(between(minNegative, ttl, maxNegative))})
	case m.mayBackOff(d, id):
		d.failures = 0
		d.addDenial(denial{at: m.now(), until: m.now().Add(between(minLook, ttl, maxLook))})
	default:
		d.failures = 0
	}
}

// addDenial adds a reason to deny; only the last few are kept.
func (d *domain) addDenial(r denial) {
	const enough = 8
	if d.denials = append(d.denials, r); len(d.denials) > enough {
		d.denials = slices.Delete(d.denials, 0, 1)
	}
}

func between(low, d, high time.Duration) time.Duration { return min(max(d, low), high) }

// mayBackOff reports whether a fetch for the id failed recently, so that the next one may have to wait.
func (m *Model) mayBackOff(d *domain, id string) bool {
	recent := func(at time.Time) bool { return m.now().Sub(at) < maxBackoff || m.unsteady(at) }
	if at, failed := d.failed[id]; failed && recent(at) || m.isPaced(d) {
		return true
	}
	f := d.failure
	return f.happened && (f.id == id || f.forgotten) && recent(f.at) || m.isHeldBack(d)
}

// isPaced reports whether the policy host was asked twice in the last 5 minutes, so that a fetch may have to wait
// whatever its id is.
func (m *Model) isPaced(d *domain) bool {
	second := d.ended[1]
	return !second.IsZero() && (m.now().Sub(second) < minBackoff || m.unsteady(second))
}

// fetchEnded notes a fetch that this host is not to blame for.
func (d *domain) fetchEnded(now time.Time) { d.ended = [2]time.Time{now, d.ended[0]} }

// unsteady reports whether the clock was set since then, or so shortly before that older times may still count.
func (m *Model) unsteady(since time.Time) bool {
	return !m.stepped.IsZero() && since.Sub(m.stepped) < 26*time.Hour
}

// fetchBegins notes that the service asks for the policy file.
func (m *Model) fetchBegins(n, gen int) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.mustFetch = false
	d.look.fetches++
	d.look.fetching = true
	d.fleet.hostFault = false
	if d.look.flight || d.look.gen != gen || d.look.fetches > 1 {
		m.violate("fetches", "%s: a fetch without a look at the TXT record before it", Domain(n))
	}
	m.judgeFetch(n)
}

// judgeFetch notes a violation if a fetch has no reason.
func (m *Model) judgeFetch(n int) {
	d := &m.domains[n]
	now, wall := m.now(), m.wall()
	h, sure := d.only()
	if !sure || d.refreshes+d.forgets > 0 || m.unsteady(now) || d.unsaved {
		return
	}
	live := m.lives(h, wall)
	id := d.look.id
	if live && d.look.state != TXTAnnounced {
		id = h.id
	}
	f := d.failure
	if f.happened && !f.forgotten && f.id == id && now.Sub(f.at) < minBackoff && f.live == live &&
		(f.gen == m.gen || live) {
		m.violate("backoff", "%s: id %q is fetched again %v after a failure", Domain(n), id, now.Sub(f.at))
	}
	refreshes := wall.Sub(h.low) >= refreshAge(h.file)*9/10-time.Second
	if live && h.id != id && !refreshes && m.isPaced(d) && now.Sub(d.ended[1]) < minBackoff-time.Second {
		m.violate("pace", "%s: a third fetch within %v", Domain(n), now.Sub(d.ended[1]))
	}
	if live && h.id == id && !refreshes {
		m.violate("idle fetch", "%s: id %q is fetched again though it is the same, %v after the last fetch", Domain(n),
			id, wall.Sub(h.low))
	}
	// What became due while the daemon was down may be fetched once more.
	if due := h.at.Add(refreshAge(h.file)); live && h.id == id && due.Sub(d.asked) > 92*day {
		m.violate("unused", "%s: refreshed though nobody had asked for %v when it became due", Domain(n),
			due.Sub(d.asked))
	}
}

// refreshAge is the age at which a policy is fetched again, give or take a tenth.
func refreshAge(f File) time.Duration { return max(min(day, f.MaxAge/2), 5*time.Minute) }

// fetchCancelled notes that the service gave the fetch up.
func (m *Model) fetchCancelled(n, gen int) {
	if gen == m.gen {
		m.domains[n].look.fetching = false
	}
}

// fetched notes a valid policy of the policy host.
func (m *Model) fetched(n, gen int, file File) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.look.fetching = false
	wall := m.wall()
	if h, sure := d.only(); sure && !m.lives(h, wall) {
		// a new policy counts as asked for, even if nobody asked
		d.used(m.now())
	}
	h := held{file: file, id: m.fetchID(d, wall), at: m.now(), low: wall, high: wall}
	d.incoming = append(d.incoming, h)
	for _, q := range m.open {
		if q.domain == n {
			q.could = append(q.could, h)
		}
	}
	d.failure, d.failed = failure{}, nil
	d.fleet.untold, d.fleet.news = m.fleet, news{} // what was told before is older
	m.remember(n, h)
	m.worked, d.failures = m.now(), 0
	d.fetchEnded(m.now())
}

// fetchFailed notes that the policy host gave no valid policy.
func (m *Model) fetchFailed(n, gen int) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.look.fetching = false
	wall := m.wall()
	h, sure := d.only()
	live := sure && m.lives(h, wall)
	d.failure = failure{happened: true, id: m.fetchID(d, wall), at: m.now(), gen: gen, live: live || !d.look.dead}
	if d.failed == nil {
		d.failed = map[string]time.Time{}
	}
	d.failed[m.fetchID(d, wall)] = m.now()
	d.fetchEnded(m.now())
	if !live {
		until := d.look.ended.Add(between(minLook, d.look.ttl, maxLook))
		d.addDenial(denial{at: m.now(), until: latest(m.now(), until)})
	}
}

// forgot notes the end of an administrator's forget.
func (m *Model) forgot(n, gen int, err error) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.forgets--
	if err != nil {
		d.failure.forgotten = true
		return
	}
	d.failure, d.failed, d.failures, d.look.state = failure{}, nil, 0, ""
	d.ended = [2]time.Time{}
	for i := range d.denials { // they remain right for questions that were asked before
		d.denials[i].until = m.now().Add(-slack - 1)
	}
}

// refreshed notes the end of an administrator's refresh.
func (m *Model) refreshed(n, gen int) {
	if gen == m.gen {
		m.domains[n].refreshes--
	}
}

// fetchID returns the id that a fetch is for: the announced one, else that of the policy.
func (m *Model) fetchID(d *domain, wall time.Time) string {
	h, sure := d.only()
	if n := len(d.incoming); n > 0 { // adopted since the look
		h, sure = d.incoming[n-1], true
	}
	if d.look.state != TXTAnnounced && sure && m.mayLive(h, wall, wall) {
		return h.id
	}
	return d.look.id
}
