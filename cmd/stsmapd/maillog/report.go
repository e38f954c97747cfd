package maillog

import (
	"bytes"
	"time"
)

// Limits bounds what a Report remembers, and so its memory, however long the log is.
type Limits struct {
	Domains   int // domains with their counts; those with little mail and no failure are forgotten first
	Waiting   int // recipients that wait because of a policy, and as many that wait for other reasons
	Processes int // processes that are at a delivery, and as many servers whose certificate was not verified
}

// DefaultLimits keep reading a log within 64 MiB.
func DefaultLimits() Limits { return Limits{Domains: 60_000, Waiting: 40_000, Processes: 4096} }

// Report joins events and counts them. Its methods must not be called at the same time. The zero Report is not usable.
type Report struct {
	joins     joins
	domains   domainTable
	held      *waitingTable // recipients that a policy has kept back
	other     *waitingTable // recipients that wait for other reasons
	instances instances
	first     time.Time
	last      time.Time
}

// NewReport makes an empty Report.
func NewReport(limits Limits) *Report {
	r := &Report{
		joins:     newJoins(limits.Processes),
		domains:   domainTable{limit: max(limits.Domains, 1), byName: map[string]*Domain{}},
		held:      newWaitingTable(limits.Waiting),
		other:     newWaitingTable(limits.Waiting),
		instances: instances{},
	}
	r.domains.hiding = r.instances.hiding
	return r
}

// Add takes the next event of a log. Lines must come in the order in which they were logged. It keeps nothing of its
// arguments.
func (r *Report) Add(l *Line, event Event) {
	if r.first.IsZero() {
		r.first = l.Time
	}
	r.last = l.Time
	switch e := event.(type) {
	case *Delivery:
		r.addDelivery(l, e)
	case *Connection:
		r.joins.addConnection(l, e)
		if e.Trust != NoTrust {
			r.instances.of(l).connections++
		}
	case *Certificate:
		r.joins.addCertificate(l, e)
	case *PolicyFailure:
		r.joins.addFailure(l, e)
	case *Attempt:
		r.joins.addAttempt(l, e)
	case *Gone:
		r.addGone(l, e)
	}
}

func (r *Report) addDelivery(l *Line, d *Delivery) {
	p := r.joins.state(l)
	message, delays := r.joins.keys.message(l, d.QueueID), r.joins.keys.of(d.Delays)
	var domain *Domain // nil where this is no mail to another host
	if !d.Relay.IsLocal() {
		domain = r.domains.find(d.Domain())
	}
	if p.request != 0 && (p.request != message || p.domain != domain && p.delays != delays) {
		p.reset() // another request, of which nothing was logged before
	}
	p.request, p.domain, p.delays = message, domain, delays
	if domain == nil {
		return
	}
	switch d.Status {
	case Sent:
		r.sent(l, d, p)
	case Deferred:
		r.deferred(l, d, p)
	case Bounced:
		r.bounced(l, d, domain)
	default:
		domain.other++
	}
}

// sent counts a delivery by how it was protected.
func (r *Report) sent(l *Line, d *Delivery, p *process) {
	domain, instance := p.domain, r.instances.of(l)
	instance.sent++
	if d.TLS.IsLogged() {
		instance.words++
		domain.Levels |= 1 << d.TLS.Reached
	}
	switch connected := p.trust != NoTrust && p.peer == r.joins.keys.peer(d.Relay); {
	case d.TLS.Outcome == Complied && d.TLS.Reached.Authenticates(), !d.TLS.IsLogged() && connected &&
		p.trust == Verified:
		domain.verified++
	case d.TLS.Outcome == Complied && d.TLS.Reached > LevelNone, !d.TLS.IsLogged() && connected:
		domain.encrypted++
	case d.TLS.Outcome == Complied && d.TLS.Reached == LevelNone:
		domain.plaintext++
	default:
		domain.silent++
		domain.silentIn |= instance.bit
	}
	if d.TLS.IsBelow() {
		domain.below++
	}
	key := r.joins.keys.recipient(l, d)
	if place, ok := r.held.find(key); ok {
		w := r.held.take(place)
		w.domain.reason(w.policy).SentAfter++
	} else if place, ok := r.other.find(key); ok {
		r.other.take(place)
	}
}

// deferred notes a recipient that waits.
func (r *Report) deferred(l *Line, d *Delivery, p *process) {
	if d.TLS.IsLogged() {
		r.instances.of(l).words++
	}
	key, domain := r.joins.keys.recipient(l, d), p.domain
	before := domain.lastReason
	place, held := r.held.find(key)
	if held {
		before = r.held.at(place).policy
	}
	reason := r.joins.deferralReason(l, d, p, before)
	w := waiting{message: p.request, domain: domain, reason: reason, policy: reason}
	if !l.Time.IsZero() {
		w.arrived = l.Time.Add(-d.Delay).Unix()
	}
	domain.deferrals++
	if reason != NoReason {
		domain.kept(reason, p, d, l.Time)
	}
	switch {
	case held:
		w := r.held.at(place)
		w.reason = reason
		if reason != NoReason {
			w.policy = reason
		}
		r.held.use(place)
	case reason != NoReason:
		if place, ok := r.other.find(key); ok {
			r.other.take(place)
		}
		r.held.add(key, w)
	default:
		if place, ok := r.other.find(key); ok {
			r.other.use(place)
			return
		}
		r.other.add(key, w)
	}
}

// bounced counts a recipient that was given up: because of a policy if one kept it back before, or if REQUIRETLS says
// so.
func (r *Report) bounced(l *Line, d *Delivery, domain *Domain) {
	key := r.joins.keys.recipient(l, d)
	reason, _ := classify(d.Reason)
	if place, ok := r.held.find(key); ok {
		if w := r.held.take(place); reason == NoReason {
			reason = w.policy
		}
	} else if place, ok := r.other.find(key); ok {
		r.other.take(place)
	}
	if reason == NoReason {
		domain.bounced++
		return
	}
	record := domain.reason(reason)
	record.Bounced++
	record.note(hostIn(d.Reason), nil, d.Reason, l.Time)
}

// addGone counts the recipients of a message that left the queue without a delivery line for them.
func (r *Report) addGone(l *Line, g *Gone) {
	message := r.joins.keys.message(l, g.QueueID)
	r.held.takeMessage(message, func(w waiting) {
		record := w.domain.reason(w.policy)
		if g.Exit == Expired {
			record.Bounced++
		} else {
			record.Removed++
		}
	})
	r.other.takeMessage(message, func(w waiting) {
		if g.Exit == Expired {
			w.domain.bounced++
		} else {
			w.domain.removed++
		}
	})
}

// kept notes that a policy kept mail for the domain back. What the delivery's own line says goes before what was
// logged of other hosts.
func (d *Domain) kept(reason Reason, p *process, delivery *Delivery, at time.Time) {
	record := d.reason(reason)
	record.Deferrals++
	d.lastReason = reason
	own, _ := classify(delivery.Reason)
	text := bytes.TrimPrefix(delivery.Reason, []byte(suspendedText))
	host := delivery.Relay.Host
	if len(host) == 0 {
		host = hostIn(text)
	}
	if p.failure == reason && (own == NoReason || delivery.Relay.IsZero()) {
		host = p.host
		if len(p.text) > 0 {
			text = p.text
		}
	}
	if own == NoSTARTTLS || own.family() == NotVerified || own == HandshakeFailed {
		text = nil // it says no more
	}
	record.note(host, p.nextHop, text, at)
}
