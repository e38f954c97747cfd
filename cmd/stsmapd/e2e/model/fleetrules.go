package model

import (
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// fleetState is what the model knows of a domain's state among hosts.
type fleetState struct {
	told      []held    // what any host has fetched, the newest last: the engine may have it
	ended     time.Time // what was fetched until then may be forgotten
	news      news      // that the daemon has heard and has not acted on yet
	heldBack  time.Time // other hosts' attempts may keep the daemon from fetching until then
	untold    bool      // what it has fetched was not shared yet
	hostFault bool      // the last fetch failed by a fault of the daemon's host
}

// news is what another host told last.
type news struct {
	at     time.Time // zero: nothing
	learnt *held     // nil: what was fetched until then is to be forgotten
}

const (
	// newsPatience is how long the daemon may take to act on what it has heard, once no lookup is running.
	newsPatience = 2 * time.Minute
	// stagger is by how much a host of a fleet may refresh later than one that is alone.
	stagger = 2 * time.Minute
	// attemptWindow is how long a failed attempt of another host counts, and the next look at it.
	attemptWindow = 6 * time.Minute
	// enoughTold is how many of these are known, beside those that live: a host whose own policy has ended adopts the
	// engine's, however old.
	enoughTold = 8
)

// toldOf notes that another host has shared an entry, and whether the daemon has heard.
func (m *Model) toldOf(n int, e resolver.Entry, file File, heard bool) {
	h := held{file: file, id: e.ID, at: m.now(), low: e.Fetched, high: e.Fetched}
	m.remember(n, h)
	if heard {
		m.domains[n].fleet.news = news{at: m.now(), learnt: &h}
	}
}

// remember notes what a host has fetched.
func (m *Model) remember(n int, h held) {
	f, wall := &m.domains[n].fleet, m.wall()
	if len(f.told) >= enoughTold {
		f.told = slices.DeleteFunc(f.told, func(t held) bool { return !m.mayLive(t, wall, wall) })
	}
	f.told = append(f.told, h)
}

// toldEnd notes that another host has ended what was fetched until now, and whether the daemon has heard.
func (m *Model) toldEnd(n int, upTo time.Time, heard bool) {
	f := &m.domains[n].fleet
	if f.ended = upTo; heard {
		f.news = news{at: m.now()}
	}
}

// noNews notes that what the daemon has heard cannot be learnt, or not be written, for now.
func (m *Model) noNews() {
	for n := range m.domains {
		m.domains[n].fleet.news = news{}
	}
}

// judgeNews notes a violation if the daemon has heard of something and has not acted on it.
func (m *Model) judgeNews(n int) {
	d := &m.domains[n]
	f := &d.fleet
	h, sure := d.only()
	if f.untold && sure && d.writes == 0 && !d.unsaved && !m.closing {
		m.violate("untold", "%s: version %d was fetched and not shared", Domain(n), h.file.Version)
	}
	if f.news.at.IsZero() || !sure || d.look.flight || d.look.fetching || d.writes > 0 {
		return
	}
	wall := m.wall()
	due := m.lives(h, wall) && !h.low.After(f.ended)
	if l := f.news.learnt; l != nil {
		due = m.lives(*l, wall) && (!m.mayLive(h, wall, wall) || l.low.After(h.low))
	}
	switch {
	case !due:
		f.news = news{}
	case m.now().Sub(f.news.at) > newsPatience && !m.closing:
		m.violate("news", "%s: another host told of something at %s, and nothing came of it", Domain(n),
			stamp(f.news.at))
	}
}

// is reports whether the entry is of the same fetch. The id under which the daemon fetched is not always known.
func (h held) is(e resolver.Entry) bool {
	return !h.nothing && h.low.Equal(e.Fetched) && h.file.Text() == e.Policy.Text
}

// adopted notes that the daemon of a fleet writes an entry, which may be one of the engine's.
func (m *Model) adopted(n, gen int, e resolver.Entry) {
	if gen != m.gen || !m.fleet {
		return
	}
	d := &m.domains[n]
	if l := d.fleet.news.learnt; l != nil && l.is(e) {
		d.fleet.news = news{}
	}
	same := func(h held) bool { return h.is(e) }
	if slices.ContainsFunc(slices.Concat(d.held, d.incoming), same) {
		return
	}
	i := len(d.fleet.told) - 1
	for i >= 0 && !same(d.fleet.told[i]) {
		i--
	}
	if i < 0 {
		return // one that the daemon had before, and whose write comes late
	}
	h := d.fleet.told[i] // the last, which the engine has
	if old, sure := d.only(); sure && m.lives(old, m.wall()) && !h.low.After(old.low) {
		m.violate("older", "%s: version %d replaced version %d, which was fetched later", Domain(n), h.file.Version,
			old.file.Version)
	}
	d.incoming = append(d.incoming, h)
	for _, q := range m.open {
		if q.domain == n {
			q.could = append(q.could, h)
		}
	}
	d.asked, d.use.known = latest(d.asked, h.at), latest(d.use.known, h.at)
	d.failure.forgotten, d.failures, d.mustFetch, d.look.dead = true, 0, false, false
	d.look.recent = [3]time.Time{} // looks for a policy, when there was none
}

// claimed notes what the engine answers to a claim. Only one that it grants lets the daemon fetch.
func (m *Model) claimed(n int, s resolver.ClaimState) {
	d := &m.domains[n]
	h, sure := d.only()
	wall := m.wall()
	newer := func(t held) bool { return m.mayLive(t, wall, wall) && t.low.After(h.low) }
	if !sure || slices.ContainsFunc(d.fleet.told, newer) {
		d.mustFetch = false // what the engine knows may do
	}
	if s == resolver.ClaimGranted || s == resolver.ClaimAlone {
		return
	}
	d.mustFetch = false
	d.fleet.heldBack = m.now().Add(attemptWindow)
	if s == resolver.ClaimRefused && (!sure || !m.lives(h, wall) || !h.low.After(d.fleet.ended)) {
		d.addDenial(denial{at: m.now(), until: m.now().Add(between(minLook, d.look.ttl, maxLook))})
	}
}

// isHeldBack reports whether other hosts' attempts may keep the daemon from fetching.
func (m *Model) isHeldBack(d *domain) bool { return m.now().Before(d.fleet.heldBack) }

// blamed notes that the daemon has told the fleet of a failed fetch.
func (m *Model) blamed(n, gen int) {
	if gen == m.gen && m.domains[n].fleet.hostFault {
		m.violate("blame", "%s: a fetch that failed by a fault of this host counts for all hosts", Domain(n))
	}
}

// shared notes that the daemon has shared what it fetched.
func (m *Model) shared(n, gen int, e resolver.Entry) {
	if gen != m.gen {
		return
	}
	m.domains[n].fleet.untold = false
	m.judgeShared(n, e)
}

// judgeShared notes a violation if the daemon shares what no host has fetched, or what failed here.
func (m *Model) judgeShared(n int, e resolver.Entry) {
	if e.Failures != (resolver.FetchFailures{}) {
		m.violate("blame", "%s: the failures of this host are shared: %+v", Domain(n), e.Failures)
	}
	d := &m.domains[n]
	if !slices.ContainsFunc(slices.Concat(d.incoming, d.held, d.durable, d.fleet.told),
		func(h held) bool { return h.is(e) }) {
		m.violate("shared", "%s: the policy with id %q, fetched at %s, is shared, and no host has fetched it",
			Domain(n), e.ID, stamp(e.Fetched))
	}
}
