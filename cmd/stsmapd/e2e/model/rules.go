package model

import (
	"slices"
	"time"
)

// expectLook notes that a question for a live policy must set off a look at the TXT record, if the last one is too old.
func (m *Model) expectLook(n int) {
	d := &m.domains[n]
	switch {
	case d.look.flight || d.look.fetching || m.closing || d.toBeForgotten(d.held[0]):
	case m.unsteady(d.look.ended):
	case d.look.gen != m.gen: // this daemon has the policy from the store, which tells when it was last looked at
		d.mustLook = m.now().Sub(d.look.ended) > roundedUp+fetchWaits
	case m.now().Sub(d.look.ended) > d.look.holds()+time.Second:
		d.mustLook = true
	}
}

// toBeForgotten: the policy is of mode none, and its TXT record is gone. Where the disk does not let it go, it stays as
// it is.
func (d *domain) toBeForgotten(h held) bool { return h.file.Mode == "none" && d.look.state == TXTGone }

// holds is how long a look is enough for a live policy.
func (l look) holds() time.Duration {
	switch l.state {
	case TXTAnnounced:
		return between(minLook, l.ttl, maxLook)
	case TXTGone:
		return between(minAbsent, l.ttl, maxLook)
	case txtUnseen, txtUnasked:
		return hostLook
	default:
		return failLook
	}
}

// denied: the last look found no policy, and is not so old that the service may look again.
func (m *Model) denied(d *domain) bool {
	h, l := d.held[0], d.look
	known := l.dead && l.gen == m.gen && !h.mayLive(m.wall(), m.wall()) && !l.flight && !l.fetching &&
		d.demanded+d.forgets == 0
	return known && !m.unsteady(l.ended) && m.now().Sub(l.ended) < d.absent()-roundedUp
}

// absent is how long the last look is enough where it found no policy; 0 where it found one.
func (d *domain) absent() time.Duration {
	switch {
	case d.look.state == TXTGone:
		return between(minAbsent, d.look.ttl, maxAbsent)
	case d.look.state == TXTServfail:
		return failLook
	case d.look.state == txtUnseen:
		return hostLook
	case d.failure.happened && !d.failure.at.Before(d.look.ended): // it led to a fetch, which failed
		return between(minLook, d.look.ttl, maxLook)
	}
	return 0
}

// putBegins and putEnded: an entry is written.
func (m *Model) putBegins(n, gen int) {
	if gen == m.gen {
		m.domains[n].puts++
		m.domains[n].use.written = m.domains[n].use.known
	}
}

func (m *Model) putEnded(n, gen int, err error) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	d.puts--
	d.unsaved = err != nil
	if err == nil {
		d.use.saved = d.use.written
	}
}

// deleted: the store's entry is removed. That is right where nothing lives, where an administrator said so, and for a
// policy of mode none whose TXT record is gone.
func (m *Model) deleted(n, gen int) {
	if gen != m.gen {
		return
	}
	d := &m.domains[n]
	wall := m.wall()
	h, sure := d.only()
	if sure && h.lives(wall) && d.forgets == 0 && !d.toBeForgotten(h) {
		m.violate("deleted", "%s: a live policy, version %d, was removed", Domain(n), h.file.Version)
	}
	nothing := held{nothing: true}
	d.held, d.durable, d.incoming = []held{nothing}, []held{nothing}, nil
	d.unsaved = false
	for _, q := range m.open {
		if q.domain == n {
			q.could = append(q.could, nothing)
		}
	}
}

// takeIn: the domain's flight is over. What it brought is known, and is on the disk if that took it.
func (d *domain) takeIn() {
	if d.puts > 0 {
		return
	}
	if len(d.incoming) > 0 {
		d.held, d.incoming = d.incoming[len(d.incoming)-1:], nil
	}
	if !d.unsaved {
		d.durable = slices.Clone(d.held)
	}
}

// quiet judges a moment at which nothing goes on but waiting for the network, the disk or the clock.
func (m *Model) quiet() {
	for n := range m.domains {
		d := &m.domains[n]
		d.takeIn()
		if d.mustLook && !m.closing {
			m.violate("look", "%s: the TXT record had to be looked at, and was not", Domain(n))
		}
		if d.mustFetch && !m.closing {
			m.violate("fetch", "%s: id %q had to be fetched, and was not", Domain(n), d.look.id)
		}
		d.mustLook, d.mustFetch = false, false
		m.judgeRefresh(n)
	}
	for _, q := range m.open {
		if q.atOnce && q.gen == m.gen && !m.closing {
			m.violate("at once", "%s: the answer is known, and has to wait", q)
		}
	}
}

// refreshSlack is what a refresh may be late: the loop looks around once a minute, and a fetch with its lookup takes up
// to 40 s.
const refreshSlack = 3 * time.Minute

// judgeRefresh: a policy in use must have been fetched again in time.
func (m *Model) judgeRefresh(n int) {
	d := &m.domains[n]
	now, wall := m.now(), m.wall()
	h, sure := d.only()
	if !sure || !h.lives(wall) || m.unsteady(now) || d.unsaved || d.look.flight || d.look.fetching || d.puts > 0 {
		return
	}
	age := refreshAge(h.file)
	due := h.at.Add(age + age/10)
	// a policy from the future is taken for one of now when somebody asks
	if d.toBeForgotten(h) || wall.Before(h.high) {
		return
	}
	if now.Sub(d.use.known) > 88*day || due.After(h.at.Add(h.file.MaxAge)) {
		return
	}
	due = latest(due, m.started)
	if d.failure.happened {
		due = latest(due, d.failure.at.Add(maxRefuse))
	}
	if !d.hostFault.IsZero() {
		due = latest(due, d.hostFault.Add(hostFetch))
	}
	if now.Sub(due) > refreshSlack {
		m.violate("refresh", "%s: version %d was fetched at %s, and has not been refreshed since", Domain(n),
			h.file.Version, stamp(h.at))
	}
}

// clockSet: the wall clock is about to be set.
func (m *Model) clockSet(to time.Time) {
	m.stepped = m.now()
	wall := m.wall()
	for _, q := range m.open {
		q.stepped = true
	}
	m.eachHeld(func(h *held) {
		h.over = h.over || latest(wall, to).After(h.low.Add(h.file.MaxAge))
		h.low = earliest(h.low, to)
	})
}

// eachHeld visits every copy of what may be held.
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

// ended: the daemon is gone, and a new one begins.
func (m *Model) ended(how ending) {
	m.gen++
	m.closing = false
	m.open = nil
	m.started = m.now()
	for n := range m.domains {
		d := &m.domains[n]
		if h, sure := d.only(); !sure || !h.lives(m.wall()) {
			d.failure = failure{} // it is kept with a live policy only
		}
		if d.unsaved || d.puts > 0 { // an older one, of any id, may be on the disk
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
		d.use.known = d.use.saved // the mark of a question is written with the next look only
		d.unsaved, d.puts, d.failures, d.demanded, d.forgets, d.mustLook, d.mustFetch = false, 0, 0, 0, 0, false, false
		d.look.flight, d.look.fetching = false, false
	}
}
