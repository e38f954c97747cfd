package model

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Violation is something that the service did and must not do, or did not do and must.
type Violation struct {
	Rule string // a stable word
	Text string
}

// Error implements error.
func (v *Violation) Error() string { return v.Rule + ": " + v.Text }

// Model is what may be answered now, and what must be done. Its methods note all that the service asks and answers,
// under one lock. Two clocks run: time passes by `now`; policies live by `wall`, which may be set.
type Model struct {
	now, wall func() time.Time

	domains [Domains]domain
	open    []*question
	gen     int       // of the running daemon; what an older one does is ignored
	started time.Time // of this daemon
	closing bool
	stepped time.Time // when the clock was last set; the zero time: never
	worked  time.Time // the last look or fetch of any domain that worked
	broken  *Violation
	fleet   bool // there are other hosts

	// Questions counts the answers that were judged.
	Questions int
}

// held is what the service may know of a domain: a fetched policy, or that there is none.
type held struct {
	nothing bool // there is no policy
	file    File
	id      string
	at      time.Time // of the fetch
	// low and high bound the wall time from which the policy's age counts. They differ when the clock was set back
	// behind the fetch: then it counts from a later time that only the service knows.
	low, high time.Time
	over      bool // a clock that ran ahead has seen its end: it may have been forgotten
	// Where the clock was set forward, the policy lives on: it may until mayUntil, and must until mustUntil while the
	// daemon with that gen runs, both by the time that passes.
	mayUntil, mustUntil time.Time
	gen                 int
}

// mayLive reports whether the policy may live at a time between the wall times from and to, which end now.
func (m *Model) mayLive(h held, from, to time.Time) bool {
	return !h.nothing && (!earliest(from, to).After(h.high.Add(h.file.MaxAge)) ||
		!m.now().After(h.mayUntil.Add(longestWait)))
}

// mayBeDead is the same for its end.
func (m *Model) mayBeDead(h held, from, to time.Time) bool {
	return h.nothing || !m.livesOn(h) && (h.over || latest(from, to).After(h.low.Add(h.file.MaxAge)))
}

// livesOn reports whether the policy must live whatever the wall clock says.
func (m *Model) livesOn(h held) bool {
	return h.gen == m.gen && h.low.Equal(h.high) && m.now().Before(h.mustUntil)
}

// lives reports whether the policy certainly lives.
func (m *Model) lives(h held, wall time.Time) bool {
	return m.mayLive(h, wall, wall) && !m.mayBeDead(h, wall, wall)
}

const (
	// longestWait is how long a question may take that began while a policy lived.
	longestWait = 100 * time.Second
	// clockSlack is by how much the wall clock may be set before that counts as a jump.
	clockSlack = 2 * time.Minute
)

// slack is how much longer than the model says a negative may hold: memory keeps its end in whole seconds, rounded up.
const slack = time.Second

// denial is a reason to answer, until some time, that there is no policy or that it is unknown. It lives in memory
// alone: however the wall clock is set, it neither ends nor goes on.
type denial struct {
	cause denialCause
	at    time.Time
	until time.Time
}

// denialCause is why there is no policy, and so which answer a denial allows.
type denialCause int

const (
	noPolicy      denialCause = iota // or none that can be fetched: NOTFOUND
	dnsFailed                        // NOTFOUND, or TEMP with the feature defer
	hostLacks                        // the same, with another reason: the daemon's host lacks roots or a route
	hostExhausted                    // TEMP: it lacks descriptors
)

// allows reports whether the reply is right for the cause.
func (c denialCause) allows(mapName, reply string) bool {
	switch c {
	case dnsFailed:
		return unsure(mapName, reply, deferred)
	case hostLacks:
		return unsure(mapName, reply, deferredHere)
	case hostExhausted:
		return strings.HasPrefix(reply, waits)
	}
	return reply == notFound
}

// domain is what the model knows of one domain's state within the service.
type domain struct {
	held     []held // one of these is what the service knows
	incoming []held // fetched; questions may not know them yet
	durable  []held // one of these is what the next daemon finds
	unsaved  bool   // the disk refused what is held
	writes   int    // running
	denials  []denial
	dane     []daneSpan

	look      look
	failure   failure
	failed    map[string]time.Time // ids whose fetch failed since the last one that worked
	ended     [2]time.Time         // the last fetches that this host is not to blame for, the latest first
	failures  int                  // failed lookups in a row, without a policy
	hostFault time.Time            // the last look or fetch that failed for want of what the host lacks
	asked     time.Time            // last question
	use       use
	refreshes int // administrators' refreshes that are running
	forgets   int // administrators' forgets that are running
	mustLook  bool
	mustFetch bool
	evicted   bool // from memory since the last question
	fleet     fleetState
}

// use is what the service certainly knows of the last question.
type use struct{ known, written, saved time.Time }

func (d *domain) used(now time.Time) { d.asked, d.use.known = now, now }

// look is the last look at the domain's TXT record.
type look struct {
	flight   bool
	gen      int
	dead     bool         // nothing lived when it began
	recent   [3]time.Time // when the last ones began
	ended    time.Time
	state    TXTState // TXTAnnounced, TXTGone for every denial, TXTServfail for every failure
	id       string
	ttl      time.Duration
	fetches  int // that followed it
	fetching bool
}

// failure is the last fetch if it failed.
type failure struct {
	happened  bool
	forgotten bool // by a kill, perhaps
	id        string
	at        time.Time
	gen       int
	live      bool // a policy lived then
}

// question is a question that Postfix waits for.
type question struct {
	domain  int
	mapName string
	gen     int
	began   time.Time
	wall    time.Time
	could   []held // what the service has known since
	stepped bool   // the clock was set since
	atOnce  bool   // the service knows the answer: it must not wait for anything
}

func newModel(now, wall func() time.Time) *Model {
	m := &Model{now: now, wall: wall}
	for i := range m.domains {
		m.domains[i].held = []held{{nothing: true}}
		m.domains[i].durable = []held{{nothing: true}}
	}
	return m
}

// violate notes a violation; only the first is kept.
func (m *Model) violate(rule, format string, args ...any) {
	if m.broken == nil {
		m.broken = &Violation{rule, fmt.Sprintf(format, args...)}
	}
}

// only returns what the service knows of a domain; false if that is uncertain.
func (d *domain) only() (held, bool) {
	if len(d.held) == 1 && len(d.incoming) == 0 {
		return d.held[0], true
	}
	return held{}, false
}

// questionBegins notes that Postfix asks. Nothing else happens at that moment.
func (m *Model) questionBegins(n int, mapName string) *question {
	d := &m.domains[n]
	q := &question{domain: n, mapName: mapName, gen: m.gen, began: m.now(), wall: m.wall(),
		could: slices.Concat(d.held, d.incoming)}
	h, sure := d.only()
	if sure && m.lives(h, q.wall) && d.writes == 0 {
		// A policy or a failure of a future time is rewritten first.
		q.atOnce = !q.wall.Before(h.high) && !(d.failure.happened && m.unsteady(d.failure.at)) && !doesDANE(mapName)
		q.atOnce = q.atOnce && !d.evicted
		if !d.evicted {
			m.expectLook(n)
		}
	}
	d.evicted = d.evicted && (d.look.flight || d.look.fetching || d.writes > 0)
	q.atOnce = q.atOnce || sure && m.denied(d)
	d.used(m.now())
	m.open = append(m.open, q)
	return q
}

// answered notes and judges an answer.
func (m *Model) answered(q *question, reply string) {
	m.open = slices.DeleteFunc(m.open, func(o *question) bool { return o == q })
	if q.gen != m.gen {
		return // the daemon is dead
	}
	m.Questions++
	if wait := m.now().Sub(q.began); wait > 95*time.Second {
		m.violate("slow", "%s: Postfix had to wait %v", q, wait)
	}
	if reply == hangup && m.closing {
		return
	}
	from, to := q.wall, m.wall()
	for _, h := range q.could {
		if m.mayLive(h, from, to) && m.bound(q, h.file, reply) {
			return
		}
		if m.mayBeDead(h, from, to) && m.domains[q.domain].denies(q, reply) {
			return
		}
		// A clock that was set back meanwhile makes a later fetch one of the past, for this question.
		if q.stepped && m.mayBeDead(h, from, to) && reply == notFound {
			return
		}
	}
	m.violate("answer", "%s: answered %.300q\n%s", q, reply, m.explain(q, from, to))
}

// denies reports whether there is a reason for an answer that says that there is no policy.
func (d *domain) denies(q *question, reply string) bool {
	for _, r := range d.denials {
		fresh := !q.began.After(r.until.Add(slack))
		if fresh && r.cause.allows(q.mapName, reply) {
			return true
		}
	}
	return false
}

// String names the question.
func (q *question) String() string {
	return fmt.Sprintf("question for %s with map %s, asked at %s", Domain(q.domain), q.mapName, stamp(q.began))
}

// explain returns what would have been right, for the text of a violation.
func (m *Model) explain(q *question, from, to time.Time) string {
	text := fmt.Sprintf("  between the wall times %s and %s the service may have known:\n", stamp(from), stamp(to))
	for _, h := range q.could {
		switch {
		case h.nothing:
			text += "  - nothing\n"
		default:
			text += fmt.Sprintf("  - version %d of %s, id %q, fetched at %s to %s: may live %v, may be dead %v\n",
				h.file.Version, h.file.Mode,
				h.id, stamp(h.low), stamp(h.high), m.mayLive(h, from, to), m.mayBeDead(h, from, to))
		}
	}
	if doesDANE(q.mapName) {
		text += fmt.Sprintf("  - DANE was %v\n", m.domains[q.domain].dane)
	}
	for _, r := range m.domains[q.domain].denials {
		text += fmt.Sprintf("  - no policy (cause %d) from %s until %s\n", r.cause, stamp(r.at), stamp(r.until))
	}
	return text
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000") }

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
