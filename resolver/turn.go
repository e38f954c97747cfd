package resolver

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// turnPoll is the time between two looks at what another host's fetch has brought: it doubles to turnPollMax.
	turnPoll    = 20 * time.Millisecond
	turnPollMax = 500 * time.Millisecond
	// turnLimit is how long other hosts' fetches are waited for before one is made beside them, if the fleet allows it:
	// as long as a fetch takes, so that there is time left for one here.
	turnLimit = 32 * time.Second
	// staggerMax spreads the refreshes of one policy over the hosts of a fleet: the first to begin does it for all, and
	// tells the others before most of them have begun.
	staggerMax = 2 * time.Minute
)

// look is what a look at a domain's TXT record found, and the fetch that plan found necessary after it.
type look struct {
	domain dnsname.Name
	before Negative
	found  discovery
	fetch  fetchNow
}

// turn is what a domain needs after this host's turn to fetch has come, another host has fetched, or enough hosts have
// failed.
type claimedTurn struct {
	known *CachedPolicy
	step  step
	claim Claim
}

// await waits for this host's turn to fetch a domain's policy. Another host may fetch it meanwhile; then plan, which
// is asked again with what came of that, has something else to say. When the other host fails, the next one that waits
// fetches. A live policy needs no waiting: the other host will tell what it fetched, and if that gets lost, the next
// look at the TXT record finds it.
func (s *Service) await(ctx context.Context, cfg *config, known *CachedPolicy, l look) claimedTurn {
	t := claimedTurn{known: known}
	begin := time.Now()
	for wait := turnPoll; ; wait = min(2*wait, turnPollMax) {
		a := attemptFor(l.fetch.id, lastFailures(t.known, l.before), time.Since(begin))
		t.claim = s.fleet.Claim(ctx, l.domain, a)
		now := s.now()
		t.known = s.mergeShared(ctx, l.domain, t.known, t.claim.SharedState)
		t.step = plan(now, s.due(cfg, l.domain, t.known, now), t.known, l.before, l.found)
		p, fetches := t.step.(fetchNow)
		switch {
		case !fetches:
		case t.claim.State == ClaimGranted:
			p.claim = &t.claim
			t.step = p
		case t.claim.State == ClaimRefused:
			t.step = refused(now, p, t.known, l.before, t.claim.Failed)
		case t.claim.State == ClaimTaken && t.known != nil:
			t.step = note{now.Add(minCheck)}
		case t.claim.State == ClaimTaken && ctx.Err() == nil:
			pause(ctx, wait)
			continue
		}
		return t
	}
}

// due reports whether a live policy is to be fetched whatever its id: it is in doubt, or its refresh has been granted
// and its time has come.
func (s *Service) due(cfg *config, domain dnsname.Name, known *CachedPolicy, now time.Time) bool {
	return known != nil && (known.Entry.Doubtful() ||
		s.queue.grants(domain) && !now.Before(known.Entry.NextCheck(cfg.RefreshInterval)))
}

// stagger moves a refresh by this host's own part of staggerMax, which is always the same for one domain.
func (s *Service) stagger(domain dnsname.Name, at time.Time) time.Time {
	if _, alone := s.fleet.(noFleet); alone {
		return at
	}
	return at.Add(time.Duration(maphash.String(s.seed, domain.String()) % uint64(staggerMax)))
}
