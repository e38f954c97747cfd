package resolver_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// hub is the memory of a fleet, without an engine: what it knows, who fetches or has failed, and who listens.
type hub struct {
	mu     sync.Mutex
	known  map[dnsname.Name]resolver.SharedState
	slots  map[fetching][]*slot
	heard  map[*member]resolver.FleetListener
	offers int
	away   bool // it cannot be asked
	deaf   bool // news get lost
}

const claimLife = 6 * time.Second

// fetching is what hosts claim.
type fetching struct {
	domain dnsname.Name
	id     string
}

// slot is in use by a claim, or by a failed attempt.
type slot struct {
	failed *resolver.FailedAttempt // nil: a claim
	ends   time.Time               // by itself
}

func newHub() *hub {
	return &hub{known: map[dnsname.Name]resolver.SharedState{}, slots: map[fetching][]*slot{},
		heard: map[*member]resolver.FleetListener{}}
}

// claim has an unknown host claim a fetch of shared.example under the id 1.
func (h *hub) claim(life time.Duration) {
	f := fetching{dnsname.MustParse(shared), "1"}
	h.set(func() { h.slots[f] = append(h.slots[f], &slot{ends: time.Now().Add(life)}) })
}

// member is one host's end of the hub.
type member struct {
	hub  *hub
	name string
}

var errAway = errors.New("the engine is away")

func (m *member) Find(_ context.Context, domain dnsname.Name) resolver.SharedState {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	if m.hub.away {
		return resolver.SharedState{}
	}
	return m.hub.known[domain]
}

func (m *member) Claim(_ context.Context, domain dnsname.Name, a resolver.Attempt) resolver.Claim {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	if m.hub.away {
		return resolver.Claim{}
	}
	f := fetching{domain, a.ID}
	used := slices.DeleteFunc(m.hub.slots[f], func(s *slot) bool { return !time.Now().Before(s.ends) })
	m.hub.slots[f] = used
	c, taken := resolver.Claim{SharedState: m.hub.known[domain]}, false
	for _, s := range used {
		if s.failed == nil {
			taken = true
		} else {
			c.Failed = append(c.Failed, *s.failed)
		}
	}
	switch full := len(used) >= a.Limit; {
	case taken && (full || !a.Beside):
		c.State = resolver.ClaimTaken
	case full:
		c.State = resolver.ClaimRefused
	default:
		began := time.Now()
		mine := &slot{ends: began.Add(5 * time.Minute)} // as if it were prolonged
		m.hub.slots[f] = append(used, mine)
		c.State = resolver.ClaimGranted
		var once sync.Once
		end := func(s slot) { once.Do(func() { m.hub.set(func() { *mine = s }) }) }
		c.Release = func() { end(slot{}) }
		c.Fail = func() {
			end(slot{&resolver.FailedAttempt{Host: m.name, At: began}, began.Add(resolver.AttemptWindow)})
		}
	}
	return c
}

// tell changes what is known of a domain and returns those who are to hear of it.
func (m *member) tell(domain dnsname.Name, change func(t *resolver.SharedState) bool) {
	m.hub.mu.Lock()
	t := m.hub.known[domain]
	var listeners []resolver.FleetListener
	if !m.hub.away && change(&t) {
		m.hub.known[domain] = t
		for other, f := range m.hub.heard {
			if other != m && !m.hub.deaf {
				listeners = append(listeners, f)
			}
		}
	}
	m.hub.mu.Unlock()
	for _, l := range listeners {
		l.Heard(domain)
	}
}

func (m *member) Share(_ context.Context, e resolver.Entry) {
	if e.Origin == "" {
		e.Origin = m.name
	}
	m.tell(e.Domain, func(t *resolver.SharedState) bool {
		if t.Entry != nil && t.Entry.Fetched.After(e.Fetched) || t.Ended.After(e.Fetched) {
			return false
		}
		*t = resolver.SharedState{Entry: &e}
		return true
	})
}

func (m *member) End(_ context.Context, domain dnsname.Name, upTo time.Time) error {
	m.tell(domain, func(t *resolver.SharedState) bool {
		if t.Entry != nil && t.Entry.Fetched.After(upTo) {
			return false
		}
		*t = resolver.SharedState{Ended: upTo}
		return true
	})
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	if m.hub.away {
		return errAway
	}
	return nil
}

func (m *member) Offer(_ context.Context, e resolver.Entry) error {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	if m.hub.away {
		return errAway
	}
	m.hub.offers++
	if m.hub.known[e.Domain].Entry == nil {
		m.hub.known[e.Domain] = resolver.SharedState{Entry: &e}
	}
	return nil
}

func (m *member) Watch(ctx context.Context, l resolver.FleetListener) {
	l.Renewed()
	m.hub.set(func() { m.hub.heard[m] = l })
	l.Missed()
	<-ctx.Done()
}

// listen lets news be heard again.
func (h *hub) listen() {
	h.set(func() { h.deaf = false })
	for _, l := range h.heard {
		l.Missed()
	}
}

func (h *hub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// host is one stsmapd of a fleet: its own store and log, the fleet's Internet.
type host struct {
	*resolver.Service
	own *world // its store, clock and log
	t   *testing.T
}

// broken is the Fetcher of a host on which every fetch fails: its roots are stale, or its proxy is dead.
type broken struct{ takes time.Duration }

var errBroken = errors.New("certificate signed by unknown authority")

func (b broken) Fetch(ctx context.Context, _ dnsname.Name) (mtasts.Policy, error) {
	if err := testkit.Pause(ctx, b.takes); err != nil {
		return mtasts.Policy{}, err
	}
	return mtasts.Policy{}, errBroken
}

// startFleet starts hosts that meet the same Internet, that of w, and share a hub. The test's bubble ends them.
func startFleet(t *testing.T, w *world, h *hub, names ...string) []*host {
	return startHosts(t, w, w, h, names...)
}

// startHosts is startFleet of hosts with this Fetcher.
func startHosts(t *testing.T, w *world, fetcher resolver.Fetcher, h *hub, names ...string) []*host {
	var hosts []*host
	for _, name := range names {
		own := newWorld(t)
		s := resolver.NewService(resolver.Options{
			DANEMemory: &memorytest.Findings{}, Now: own.now,
			Settings: resolver.Settings{DNS: w, Fetcher: fetcher},
			Store:    own,
			Memory:   memorytest.New(),
			Fleet:    &member{h, name},
			Logger:   slog.New(slog.NewTextHandler(&own.log, nil)),
		})
		stop := runUpkeep(s)
		t.Cleanup(stop)
		hosts = append(hosts, &host{s, own, t})
	}
	return hosts
}

// ask asks a question and returns the outcome.
func (h *host) ask(domain string) resolver.Outcome {
	return h.Answer(h.t.Context(),
		resolver.Question{Destination: dane.Destination{Domain: dnsname.MustParse(domain)}}).Outcome
}

// policy is what a host holds of a domain.
func (h *host) policy(domain string) *resolver.Entry {
	k, err := h.Admin().Known(h.t.Context(), dnsname.MustParse(domain))
	if err != nil {
		h.t.Fatal(err)
	}
	return k.Entry
}

func (h *host) emptyMemory() resolver.Memory {
	return memorytest.New()
}

func (h *host) quiet() *slog.Logger { return slog.New(slog.NewTextHandler(&h.own.log, nil)) }

// Failing implements resolver.Fleet.
func (m *member) Failing() bool { return false }
