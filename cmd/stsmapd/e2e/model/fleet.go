package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// The events of a script with other hosts.
type (
	// Peer is what another host does for a domain, unless the engine is away.
	Peer struct {
		Domain int
		Does   PeerDeed
	}
	// Engine says how the engine is that the hosts share.
	Engine struct{ State EngineState }
	// News says whether the daemon hears what other hosts tell.
	News struct{ State NewsState }
)

// PeerDeed is what another host does.
type PeerDeed string

// The deeds of other hosts. Only the first depends on how the policy host answers: the other hosts' network and roots
// are their own.
const (
	PeerFetches PeerDeed = "fetches" // the published policy, under the announced id, and tells
	PeerDoubts  PeerDeed = "doubts"  // tells of the published policy under an old id, and that the announced one failed
	PeerFails   PeerDeed = "fails"   // claims the fetch of the announced id, and fails
	PeerDies    PeerDeed = "dies"    // claims it, and is never heard of again
	PeerForgets PeerDeed = "forgets" // all that was fetched until now, for all hosts
)

// EngineState is how the shared engine is.
type EngineState string

// The states of the engine.
const (
	EngineOK    EngineState = "ok"
	EngineAway  EngineState = "away"
	EngineEmpty EngineState = "empty" // there again, without what it knew
)

// NewsState is whether the daemon's subscription works.
type NewsState string

// The states of the subscription.
const (
	NewsHeard NewsState = "heard"
	NewsLost  NewsState = "lost"
)

func (Peer) event()   {}
func (Engine) event() {}
func (News) event()   {}

func (e Peer) String() string   { return fmt.Sprintf("peer %d %s", e.Domain, e.Does) }
func (e Engine) String() string { return "engine " + string(e.State) }
func (e News) String() string   { return "news " + string(e.State) }

const (
	// claimLife is how long a claim counts whose host has died.
	claimLife = 6 * time.Second
	// oldID is an id that no script announces.
	oldID = 0
)

// engine is what the hosts share. The world's lock guards it.
type engine struct {
	away, deaf bool
	known      [Domains]resolver.SharedState
	tries      [Domains][]*try
	listener   resolver.FleetListener // of the daemon
	late       []resolver.Entry       // that the daemon could not share
}

// try is a claim, or the attempt that it became.
type try struct {
	id     string
	failed *resolver.FailedAttempt // nil: a claim
	ends   time.Time
}

// counting returns the tries of an id that count now.
func (e *engine) counting(n int, id string) (of []*try) {
	e.tries[n] = slices.DeleteFunc(e.tries[n], func(t *try) bool { return !time.Now().Before(t.ends) })
	for _, t := range e.tries[n] {
		if t.id == id {
			of = append(of, t)
		}
	}
	return of
}

// failedTry is a fetch that began now and fails.
func failedTry(id, host string) *try {
	now := time.Now()
	return &try{id, &resolver.FailedAttempt{Host: host, At: now.UTC().Round(0)}, now.Add(resolver.AttemptWindow)}
}

// offer takes in an entry, and reports whether it did: what is known is not as new.
func (e *engine) offer(n int, entry resolver.Entry) bool {
	k := e.known[n]
	if k.Entry != nil && !entry.Fetched.After(k.Entry.Fetched) || !entry.Fetched.After(k.Ended) {
		return false
	}
	e.known[n] = resolver.SharedState{Entry: &entry}
	return true
}

func (e *engine) end(n int, upTo time.Time) {
	if k := e.known[n]; k.Entry == nil || !k.Entry.Fetched.After(upTo) {
		e.known[n] = resolver.SharedState{Ended: upTo}
	}
}

// tell tells the daemon of a domain, and reports whether it has heard.
func (e *engine) tell(n int) bool {
	if e.deaf || e.listener == nil {
		return false
	}
	e.listener.Heard(dnsname.MustParse(Domain(n)))
	return true
}

// changeEngine does what an event says. The caller holds the lock.
func (w *world) changeEngine(s EngineState) {
	e := &w.engine
	if s == EngineEmpty {
		e.known, e.tries = [Domains]resolver.SharedState{}, [Domains][]*try{}
		w.model.noNews()
	}
	back := e.away || s == EngineEmpty
	if e.away = s == EngineAway; e.away {
		w.model.noNews()
	} else if back && e.listener != nil {
		for _, entry := range e.late {
			if n, ok := numberOf(entry.Domain.String()); ok {
				e.offer(n, entry)
			}
		}
		e.late = nil
		e.listener.Renewed()
		e.listener.Missed()
	}
}

// changeNews is the same for News.
func (w *world) changeNews(s NewsState) {
	e := &w.engine
	if back := e.deaf && s == NewsHeard && !e.away && e.listener != nil; back {
		e.listener.Missed()
	}
	e.deaf = s == NewsLost
}

// peer does what another host does. The caller holds the lock.
func (w *world) peer(p Peer) {
	n, e := p.Domain, &w.engine
	id, announced := idText(w.txt[n].ID), w.txt[n].State == TXTAnnounced && w.mute == MuteOff
	if e.away || p.Does != PeerForgets && !announced {
		return
	}
	now := w.model.wall()
	switch p.Does {
	case PeerFetches, PeerDoubts:
		policy, err := mtasts.ParsePolicy([]byte(w.file[n].Text()))
		if err != nil || p.Does == PeerFetches && failureOf(w.web[n]) != 0 {
			return
		}
		entry := resolver.Entry{Domain: dnsname.MustParse(Domain(n)), ID: id, Policy: policy, Fetched: now,
			Checked: now, Used: now, UsedDays: 1, Origin: "peer"}
		if p.Does == PeerDoubts {
			entry.ID = idText(oldID)
			entry.Failures = resolver.FetchFailures{Count: 1, ID: id, Since: now, RetryAt: now.Add(maxBackoff),
				Alerted: now, Reason: "the peer's roots are stale"}
		}
		if e.offer(n, entry) {
			w.model.toldOf(n, entry, w.file[n], e.tell(n) && w.disk == DiskOK)
		}
	case PeerFails:
		if len(e.counting(n, id)) < resolver.MaxAttempts {
			e.tries[n] = append(e.tries[n], failedTry(id, "peer"))
		}
	case PeerDies:
		if len(e.counting(n, id)) < resolver.MaxAttempts {
			e.tries[n] = append(e.tries[n], &try{id: id, ends: time.Now().Add(claimLife)})
		}
	case PeerForgets:
		e.end(n, now)
		w.model.toldEnd(n, now, e.tell(n) && w.disk == DiskOK)
	}
}

// member is the daemon's end of the engine.
type member struct{ port }

var (
	_       resolver.Fleet = member{}
	errAway                = errors.New("the engine is away")
)

// reached returns the domain's number; false if the engine is not asked: it is away, or the daemon is dead. The caller
// holds the lock.
func (m member) reached(domain dnsname.Name) (n int, ok bool) {
	n, ok = numberOf(domain.String())
	return n, ok && m.gen == m.w.model.gen && !m.w.engine.away
}

// Find implements resolver.Fleet.
func (m member) Find(_ context.Context, domain dnsname.Name) (s resolver.SharedState) {
	m.w.locked(func() {
		if n, ok := m.reached(domain); ok {
			s = m.w.engine.known[n]
		}
	})
	return s
}

// Claim implements resolver.Fleet.
func (m member) Claim(_ context.Context, domain dnsname.Name, a resolver.Attempt) (c resolver.Claim) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	n, ok := m.reached(domain)
	if !ok {
		return c
	}
	e := &m.w.engine
	used, taken := e.counting(n, a.ID), false
	c.SharedState = e.known[n]
	for _, t := range used {
		if taken = taken || t.failed == nil; t.failed != nil {
			c.Failed = append(c.Failed, *t.failed)
		}
	}
	switch full := len(used) >= a.Limit; {
	case taken && (full || !a.Beside):
		c.State = resolver.ClaimTaken
	case full:
		c.State = resolver.ClaimRefused
	default:
		c.State = resolver.ClaimGranted
		m.grant(&c, n, a.ID)
	}
	m.w.model.claimed(n, c.State)
	return c
}

// grant lets the daemon fetch. The claim of one that dies meanwhile ends with it.
func (m member) grant(c *resolver.Claim, n int, id string) {
	mine := &try{id: id, ends: time.Now().Add(never)}
	m.w.engine.tries[n] = append(m.w.engine.tries[n], mine)
	var once sync.Once
	end := func(as try) {
		once.Do(func() {
			m.w.locked(func() {
				if *mine = as; as.failed != nil {
					m.w.model.blamed(n, m.gen)
				}
			})
		})
	}
	attempt := *failedTry(id, "this host")
	c.Release = func() { end(try{}) }
	c.Fail = func() { end(attempt) }
}

// Share implements resolver.Fleet. The engine is told at once, or when it is there again.
func (m member) Share(_ context.Context, e resolver.Entry) {
	m.w.locked(func() {
		n, ok := m.reached(e.Domain)
		if m.w.model.shared(n, m.gen, e); ok {
			m.w.engine.offer(n, e)
		} else if m.gen == m.w.model.gen {
			m.w.engine.late = append(m.w.engine.late, e)
		}
	})
}

// End implements resolver.Fleet.
func (m member) End(_ context.Context, domain dnsname.Name, upTo time.Time) (err error) {
	m.w.locked(func() {
		n, ok := m.reached(domain)
		if err = errAway; ok {
			m.w.engine.end(n, upTo)
			err = nil
		}
	})
	return err
}

// Offer implements resolver.Fleet.
func (m member) Offer(_ context.Context, e resolver.Entry) (err error) {
	m.w.locked(func() {
		n, ok := m.reached(e.Domain)
		if err = errAway; ok {
			m.w.model.judgeShared(n, e)
			m.w.engine.offer(n, e)
			err = nil
		}
	})
	return err
}

// Watch implements resolver.Fleet.
func (m member) Watch(ctx context.Context, l resolver.FleetListener) {
	m.w.locked(func() {
		if m.gen != m.w.model.gen {
			return
		}
		if m.w.engine.listener = l; !m.w.engine.away {
			l.Renewed()
			l.Missed()
		}
	})
	<-ctx.Done()
	m.w.locked(func() {
		if m.gen == m.w.model.gen {
			m.w.engine.listener = nil
		}
	})
}

// Failing implements resolver.Fleet.
func (m member) Failing() (is bool) {
	m.w.locked(func() { is = m.w.engine.away })
	return is
}

// endDaemon ends the claims of a daemon that has ended, and its subscription. The caller holds the lock.
func (w *world) endDaemon() {
	w.engine.listener, w.engine.late = nil, nil
	for n := range w.engine.tries {
		for _, t := range w.engine.tries[n] {
			if soon := time.Now().Add(claimLife); t.failed == nil && t.ends.After(soon) {
				t.ends = soon
			}
		}
	}
}
