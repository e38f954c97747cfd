package resolver

import (
	"iter"
	"time"

	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Status is how the service does, for administrators.
type Status struct {
	Stored   int          // policies in the store, expired ones included; -1: the store does not count them
	Policies PolicyCounts // policies in memory
	// domains without a policy in memory, those that are to be looked at again included; -1: unknown
	Negatives int

	Refreshes int  // proactive refreshes that are due before the next scan of the store
	Overdue   int  // of them, those whose time has come
	Unsaved   int  // policies that wait for the disk
	Unwritten int  // and those for which there was no room to wait: in memory alone
	Failing   bool // the last write to the store failed

	HostFaults []HostFault // that keep this host from looking for policies; empty: it can

	FleetFailing bool // there is a fleet, and it cannot be asked or told

	Lookups int // domains that are being looked up now
	Fetches int // policies that are being fetched now
}

// PolicyCounts counts policies.
type PolicyCounts struct {
	Enforce, Testing, None int // live ones, by mode
	Expired                int
	Failing                int // live ones whose last fetch failed, but for mode none
}

// counter is a Store that knows how many entries it has.
type counter interface{ Len() int }

// census is a Memory that can be counted.
type census interface {
	All() iter.Seq[*CachedPolicy]
	Negatives() int
}

// Status counts. It takes some milliseconds for a hundred thousand policies in memory, and holds up no question.
func (s *Service) Status() Status {
	now := s.now()
	st := Status{Stored: -1, Negatives: -1, Lookups: int(s.lookingUp.Load()), Fetches: int(s.fetching.Load())}
	if c, ok := s.store.(counter); ok {
		st.Stored = c.Len()
	}
	if c, ok := s.memory.(census); ok {
		st.Negatives = c.Negatives()
		for h := range c.All() {
			st.Policies.add(now, &h.Entry)
		}
	}
	if f, ok := s.fleet.(interface{ Failing() bool }); ok {
		st.FleetFailing = f.Failing()
	}
	st.HostFaults = s.hostFaults.list()
	st.Refreshes, st.Overdue = s.queue.count(now)
	st.Unsaved, st.Unwritten, st.Failing = s.pending.state()
	return st
}

func (c *PolicyCounts) add(now time.Time, e *Entry) {
	if !e.Live(now) {
		c.Expired++
		return
	}
	switch e.Policy.Mode {
	case mtasts.ModeEnforce:
		c.Enforce++
	case mtasts.ModeTesting:
		c.Testing++
	case mtasts.ModeNone:
		c.None++
		return
	}
	if e.Failures.Count > 0 {
		c.Failing++
	}
}

// count returns how many refreshes are on the agenda, and how many of them are due at now.
func (a *refreshQueue) count(now time.Time) (all, due int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.due {
		if !at.After(now) {
			due++
		}
	}
	return len(a.due), due
}

// state tells how the store's writes do.
func (s *pendingWrites) state() (waiting, unwritten int, failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting), s.missed, s.failing
}
