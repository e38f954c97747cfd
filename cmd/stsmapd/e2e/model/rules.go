package model

import (
	"slices"
	"time"
)

// expectLook notes that a question for a live policy must start a look at the TXT record, if the last one is too old.
func (m *Model) expectLook(n int) {
	d := &m.domains[n]
	switch {
	case d.look.flight || d.look.fetching || m.closing || d.toBeForgotten(d.held[0]) || m.isHeldBack(d):
	case d.look.gen != m.gen: // this daemon has the policy from the store, which tells when it was last looked at
		d.mustLook = m.now().Sub(d.look.ended) > slack+fetchWaits
	case m.now().Sub(d.look.ended) > d.look.lasts()+time.Second:
		d.mustLook = true
	}
}

// toBeForgotten reports whether the policy is of mode none and its TXT record is gone. While the disk refuses writes it
// stays.
func (d *domain) toBeForgotten(h held) bool { return h.file.Mode == "none" && d.look.state == TXTGone }

// lasts returns for how long a look is enough for a live policy.
func (l look) lasts() time.Duration {
	switch l.state {
	case TXTAnnounced:
		return between(minLook, l.ttl, maxLook)
	case TXTGone:
		return between(minNegative, l.ttl, maxLook)
	case txtUnseen, txtUnasked:
		return hostLook
	default:
		return failLook
	}
}

// denied reports whether the last look found no policy and is too recent for another.
func (m *Model) denied(d *domain) bool {
	h, l := d.held[0], d.look
	known := l.dead && l.gen == m.gen && !m.mayLive(h, m.wall(), m.wall()) && !l.flight && !l.fetching &&
		d.refreshes+d.forgets == 0
	if (l.state == TXTServfail || l.state == txtUnseen) && !m.worked.Before(l.recent[len(l.recent)-1]) {
		return false // perhaps forgotten: when it began the DNS was dead, or this host lacked something; that is over
	}
	return known && m.now().Sub(l.ended) < d.negativeTTL()-slack
}

// negativeTTL returns for how long the last look is enough if it found no policy; 0 if it found one.
func (d *domain) negativeTTL() time.Duration {
	switch {
	case d.look.state == TXTGone:
		return between(minNegative, d.look.ttl, maxNegative)
	case d.look.state == TXTServfail:
		return failLook
	case d.look.state == txtUnseen:
		return hostLook
	case d.failure.happened && !d.failure.at.Before(d.look.ended): // it led to a fetch, which failed
		return between(minLook, d.look.ttl, maxLook)
	}
	return 0
}

// writeBegins notes that an entry is being written.
func (m *Model) writeBegins(n, gen int) {
	if gen == m.gen {
		m.domains[n].writes++
		m.domains[n].use.written = m.domains[n].use.known
	}
}

// writeEnded notes the end of a write.
func (m *Model) writeEnded(n, gen int, err error) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.writes--
	d.unsaved = err != nil
	if err == nil {
		d.use.saved = d.use.written
		d.durable = slices.Concat(d.durable, d.incoming) // another write may follow at once
	}
}

// deleted notes that the store's entry is removed. That is right if nothing lives, if an administrator forgets it, here
// or on another host, if the store is over its bound, and for a policy of mode none whose TXT record is gone.
func (m *Model) deleted(n, gen int, surplus bool) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	wall := m.wall()
	h, sure := d.only()
	if sure && m.lives(h, wall) && d.forgets == 0 && !d.toBeForgotten(h) && !surplus && h.low.After(d.fleet.ended) {
		m.violate("deleted", "%s: a live policy, version %d, was removed", Domain(n), h.file.Version)
	}
	nothing := held{nothing: true}
	d.held, d.durable, d.incoming = []held{nothing}, []held{nothing}, nil
	d.unsaved = false
	if d.fleet.news.learnt == nil {
		d.fleet.news = news{}
	}
	for _, q := range m.open {
		if q.domain == n {
			q.could = append(q.could, nothing)
		}
	}
}

// endFlight notes that the domain's lookup is over: what it brought is known, and is on the disk unless that refused
// it.
func (d *domain) endFlight() {
	if d.writes > 0 {
		return
	}
	if len(d.incoming) > 0 {
		d.held, d.incoming = d.incoming[len(d.incoming)-1:], nil
	}
	if !d.unsaved {
		d.durable = slices.Clone(d.held)
	}
}

// judgeIdle judges a moment at which the service only waits for the network, the disk or the clock.
func (m *Model) judgeIdle() {
	for n := range m.domains {
		d := &m.domains[n]
		d.endFlight()
		// A policy of a future time is written as one of now before it is answered, and before the look.
		awaitsWrite := d.writes > 0
		if d.mustLook && !awaitsWrite && !m.closing {
			m.violate("look", "%s: the TXT record was due for a look, and none came", Domain(n))
		}
		if d.mustFetch && !m.closing {
			m.violate("fetch", "%s: id %q was due for a fetch, and none came", Domain(n), d.look.id)
		}
		d.mustLook, d.mustFetch = d.mustLook && awaitsWrite, false
		m.judgeRefresh(n)
		m.judgeNews(n)
	}
	for _, q := range m.open {
		if q.atOnce && q.gen == m.gen && !m.closing {
			m.violate("at once", "%s: the answer is known, and has to wait", q)
		}
	}
}

// refreshSlack is by how much a refresh may be late: the loop runs once a minute, and a fetch with its lookup takes up
// to 40 s.
const refreshSlack = 3 * time.Minute

// judgeRefresh notes a violation if a policy in use was not fetched again in time.
func (m *Model) judgeRefresh(n int) {
	d := &m.domains[n]
	now, wall := m.now(), m.wall()
	h, sure := d.only()
	if !sure || !m.lives(h, wall) || m.unsteady(now) || d.unsaved || d.look.flight || d.look.fetching || d.writes > 0 {
		return
	}
	age := refreshAge(h.file)
	due := h.at.Add(age + age/10)
	// a policy of a future time counts from the next question
	if d.toBeForgotten(h) || wall.Before(h.high) {
		return
	}
	if now.Sub(d.use.known) > 88*day || due.After(h.at.Add(h.file.MaxAge)) {
		return
	}
	if wall.Sub(h.high) < age+age/10 {
		return // by the wall clock, which is all that a new daemon has, it is not due
	}
	due = latest(due, m.started)
	if d.failure.happened {
		due = latest(due, d.failure.at.Add(maxBackoff))
	}
	if !d.hostFault.IsZero() {
		due = latest(due, d.hostFault.Add(hostFetch))
	}
	if due = latest(due, d.fleet.heldBack); m.fleet {
		due = due.Add(stagger)
	}
	if now.Sub(due) > refreshSlack {
		m.violate("refresh", "%s: version %d was fetched at %s, and has not been refreshed since", Domain(n),
			h.file.Version, stamp(h.at))
	}
}

// clockSet notes that the wall clock is about to be set.
func (m *Model) clockSet(to time.Time) {
	m.stepped = m.now()
	wall := m.wall()
	for _, q := range m.open {
		q.stepped = true
	}
	m.eachHeld(func(h *held) {
		if forward := to.Sub(wall); !h.nothing && forward > 0 && m.mayLive(*h, wall, wall) {
			h.mayUntil = latest(h.mayUntil, m.now().Add(h.high.Add(h.file.MaxAge).Sub(wall)))
			if m.lives(*h, wall) && !m.livesOn(*h) {
				h.mustUntil, h.gen = m.now().Add(h.low.Add(h.file.MaxAge).Sub(wall)-clockSlack), m.gen
			}
		}
		h.over = h.over || latest(wall, to).After(h.low.Add(h.file.MaxAge))
		h.low = earliest(h.low, to)
	})
}

// eachHeld calls f for every copy of what the service may know.
func (m *Model) eachHeld(f func(*held)) {
	visit := func(set []held) {
		for i := range set {
			f(&set[i])
		}
	}
	for n := range m.domains {
		d := &m.domains[n]
		visit(d.held)
		visit(d.incoming)
		visit(d.durable)
	}
	for _, q := range m.open {
		visit(q.could)
	}
}

// ending is how a daemon ends.
type ending int

const (
	orderlyEnd ending = iota
	killedEnd
)

// ended notes that the daemon has ended and the next one starts.
func (m *Model) ended(how ending) {
	m.gen++
	m.closing = false
	m.open = nil
	m.started = m.now()
	for n := range m.domains {
		d := &m.domains[n]
		if h, sure := d.only(); !sure || !m.lives(h, m.wall()) {
			d.failure = failure{} // it is stored with a live policy only
		}
		if d.unsaved || d.writes > 0 { // the disk may have an older one, of any id
			d.failure = failure{happened: true, forgotten: true, at: m.now()}
		}
		switch {
		case how == orderlyEnd && !d.unsaved:
			d.held = slices.Concat(d.held, d.incoming)
			if len(d.incoming) > 0 {
				d.held = d.incoming[len(d.incoming)-1:]
			}
		case how == orderlyEnd:
			d.held = slices.Concat(d.durable, d.held, d.incoming)
		default:
			d.held = slices.Clone(d.durable)
		}
		d.durable = slices.Clone(d.held)
		d.incoming, d.denials = nil, nil
		d.ended = [2]time.Time{}  // what is in memory alone
		d.use.known = d.use.saved // the mark of a question is written with the next look only
		d.unsaved, d.writes, d.failures, d.refreshes, d.forgets, d.mustLook, d.mustFetch = false, 0, 0, 0, 0, false,
			false
		d.look.flight, d.look.fetching = false, false
		d.fleet.news, d.fleet.untold, d.fleet.hostFault = news{}, false, false
	}
}
