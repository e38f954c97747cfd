package resolver

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// turnPoll is the time between two looks at what another host's fetch has brought: it doubles to turnPollMax.
	turnPoll    = 20 * time.Millisecond
	turnPollMax = 500 * time.Millisecond
	// turnLimit is how long another host's fetch is waited for: as long as a fetch takes, so that there is time left for one here.
	turnLimit = 32 * time.Second
	// staggerMax spreads the refreshes of one policy over the hosts of a fleet: the first to begin does it for all, and tells
	// the others before most of them have begun.
	staggerMax = 2 * time.Minute
)

// turn is what a domain needs, after this host's turn to fetch has come or another has fetched.
type turn struct {
	known   *Held
	before  Absence
	step    step
	release func()
}

// await waits for this host's turn to fetch a domain's policy, as plan found necessary after d. Another host may fetch it
// meanwhile; then plan, which is asked again with what came of that, has something else to say. A live policy needs no waiting:
// the other host will tell what it fetched, and if that gets lost, the next look at the TXT record finds it.
func (s *Service) await(ctx context.Context, cfg *config, domain dnsname.Name, known *Held, before Absence, d discovery) turn {
	t := turn{known: known, before: before, release: func() {}}
	begin := time.Now()
	for wait := turnPoll; ; wait = min(2*wait, turnPollMax) {
		c := s.fleet.Claim(ctx, domain)
		now := s.now()
		t.known = s.hear(ctx, domain, t.known, c.Tidings)
		if t.known == nil && c.Failed.Failures > 0 {
			t.before = failedElsewhere(now, c.Failed)
		}
		t.step = plan(now, s.due(cfg, domain, t.known, now), t.known, t.before, d)
		_, fetches := t.step.(fetch)
		switch taken := c.State == ClaimTaken && fetches; {
		case taken && t.known != nil:
			t.step = note{now.Add(minCheck)}
		case taken && ctx.Err() == nil && time.Since(begin) < turnLimit:
			pause(ctx, wait)
			continue
		case c.State == ClaimGranted && fetches:
			t.release = c.Release
		case c.State == ClaimGranted:
			c.Release()
		}
		return t
	}
}

// failedElsewhere is the absence that another host's failed fetch makes here.
func failedElsewhere(now time.Time, t Trouble) *FetchFailed {
	t = t.at(now)
	return &FetchFailed{Trouble: t, At: now, CheckAt: now, Err: errors.New(t.Reason)}
}

// due reports whether a live policy is to be fetched whatever its id: it is in doubt, or its refresh has been granted and its time
// has come.
func (s *Service) due(cfg *config, domain dnsname.Name, known *Held, now time.Time) bool {
	return known != nil && (known.Entry.Doubtful() ||
		s.agenda.grants(domain) && !now.Before(known.Entry.NextCheck(cfg.RefreshInterval)))
}

// stagger moves a refresh by this host's own part of staggerMax, which is always the same for one domain.
func (s *Service) stagger(domain dnsname.Name, at time.Time) time.Time {
	if _, alone := s.fleet.(noFleet); alone {
		return at
	}
	return at.Add(time.Duration(maphash.String(s.seed, domain.String()) % uint64(staggerMax)))
}
