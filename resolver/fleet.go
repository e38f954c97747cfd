package resolver

import (
	"context"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Fleet is what this host and others tell each other of policies; cache.Shared is one. Nothing depends on it: what a
// host knows it has in its own store, and a Fleet that cannot be reached says so at once. It is safe for concurrent
// use. Every method but Watch, End and Offer takes a few hundredths of a second at most, whatever state the fleet's
// engine is in.
type Fleet interface {
	// Find returns what the fleet knows of a domain; the zero SharedState when that is nothing, or the fleet cannot be
	// asked.
	Find(context.Context, dnsname.Name) SharedState
	// Claim asks for the right to fetch a domain's policy on behalf of all.
	Claim(context.Context, dnsname.Name, Attempt) Claim
	// Share tells the fleet of a policy fetched here. What the fleet cannot be told now it is told later. The newest
	// Fetched wins: one that is older than what the fleet has changes nothing.
	Share(context.Context, Entry)
	// End has the fleet forget a domain's policy if it was fetched at upTo or before. The error says why the fleet
	// could not be told; the caller tells whoever asked, or lets the policies of the other hosts end by themselves.
	End(ctx context.Context, domain dnsname.Name, upTo time.Time) error
	// Offer is Share of what was fetched long ago, for a fleet that may have forgotten it: other hosts are not told.
	// With an error the fleet cannot be reached: offer it again later.
	Offer(context.Context, Entry) error
	// Watch calls heard with each domain of which another host has told something, and renewed when the fleet may have
	// forgotten what it knew, the first time soon after the beginning. Neither may block. It returns when ctx ends.
	Watch(ctx context.Context, heard func(dnsname.Name), renewed func())
}

// SharedState are what a fleet knows of a domain. They have been read as strictly as what comes from the network.
type SharedState struct {
	Entry *Entry    // the policy; nil: none
	Ended time.Time // policies fetched at this time or before are to be forgotten; zero: none
}

// noFleet is the fleet of a host that is alone.
type noFleet struct{}

func (noFleet) Find(context.Context, dnsname.Name) SharedState            { return SharedState{} }
func (noFleet) Claim(context.Context, dnsname.Name, Attempt) Claim        { return Claim{} }
func (noFleet) Share(context.Context, Entry)                              {}
func (noFleet) End(context.Context, dnsname.Name, time.Time) error        { return nil }
func (noFleet) Offer(context.Context, Entry) error                        { return nil }
func (noFleet) Watch(ctx context.Context, _ func(dnsname.Name), _ func()) { <-ctx.Done() }

const (
	// fleetSkew is how far the clocks of a fleet may differ before a policy "fetched in the future" is suspect.
	fleetSkew = time.Minute
	// fleetGrain is the precision in which a fleet passes on times.
	fleetGrain = time.Millisecond
)

// adopt says what a host that holds known (nil: nothing live) makes of an entry that it hears of, and whether that is
// worth having. The last successful fetch counts, wherever it was made; a policy never becomes older by what others
// say. A fetch in the future counts as made now, but it cannot make the same policy live on and on. What failed on
// another host is not adopted.
func adopt(now time.Time, known *CachedPolicy, e Entry) (Entry, bool) {
	ahead := e.Fetched.Sub(now) > fleetSkew
	e = e.at(now)
	e.Failures = FetchFailures{}
	if !e.Live(now) {
		return e, false
	}
	if known == nil {
		return e, true
	}
	if used := known.Used(); used.After(e.Used) {
		e.Used = used
	}
	later := e.Fetched.Truncate(fleetGrain).After(known.Entry.Fetched.Truncate(fleetGrain))
	return e, later && (!ahead || e.Policy.Text != known.Entry.Policy.Text)
}

// hear takes in what the fleet knows of a domain of which known is held (nil: nothing live), and returns what is held
// then. It runs inside the domain's flight.
func (s *Service) mergeShared(ctx context.Context, domain dnsname.Name, known *CachedPolicy,
	t SharedState) *CachedPolicy {
	now := s.now()
	if ended := earlier(t.Ended, now); known != nil && !ended.IsZero() &&
		!known.Entry.Fetched.Truncate(fleetGrain).After(ended) {
		if err := s.pending.delete(ctx, domain); err != nil {
			return known // it binds until it expires, or is forgotten here
		}
		s.forgetPolicy(domain)
		s.log.Info("policy forgotten by another host of the fleet", "event", "policy_forgotten", "domain", domain,
			"mode", known.Entry.Policy.Mode)
		known = nil
	}
	if t.Entry == nil {
		return known
	}
	e, ok := adopt(now, known, *t.Entry)
	if !ok {
		return known
	}
	h := s.keep(ctx, e, e.Checked)
	s.metrics.adopted.Add(1)
	s.logFetched(known, h)
	if known == nil {
		s.noteLearnt()
	}
	return h
}

// ask looks for a domain of which nothing live is known here in the memory of the fleet. nil: nothing there.
func (s *Service) lookupShared(ctx context.Context, domain dnsname.Name) *CachedPolicy {
	return s.mergeShared(ctx, domain, nil, s.fleet.Find(ctx, domain))
}
