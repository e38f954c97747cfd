package resolver

import (
	"context"
	"sync"
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
	// could not be told; the caller tells the administrator, or lets the policies of the other hosts end by themselves.
	End(ctx context.Context, domain dnsname.Name, upTo time.Time) error
	// Offer is Share of what was fetched long ago, for a fleet that may have forgotten it: other hosts are not told.
	// With an error the fleet cannot be reached: offer it again later.
	Offer(context.Context, Entry) error
	// Watch tells the listener what happens in the fleet. It returns when ctx ends.
	Watch(context.Context, FleetListener)
	// Failing reports whether the fleet cannot be asked or told now.
	Failing() bool
}

// FleetListener is told what happens in a fleet. Its methods do not block, and are safe for concurrent use.
type FleetListener interface {
	// Heard: another host has told something of a domain.
	Heard(dnsname.Name)
	// Missed: other hosts may have told something that was not heard, since nobody listened. It is called each time
	// that listening begins, the first time soon after Watch.
	Missed()
	// Renewed: the fleet may have forgotten what it knew. It is called the first time soon after Watch.
	Renewed()
}

// SharedState are what a fleet knows of a domain. They have been read as strictly as what comes from the network.
type SharedState struct {
	Entry *Entry    // the policy; nil: none
	Ended time.Time // policies fetched at this time or before are to be forgotten; zero: none
}

// noFleet is the fleet of a host that is alone.
type noFleet struct{}

func (noFleet) Find(context.Context, dnsname.Name) SharedState     { return SharedState{} }
func (noFleet) Claim(context.Context, dnsname.Name, Attempt) Claim { return Claim{} }
func (noFleet) Share(context.Context, Entry)                       {}
func (noFleet) End(context.Context, dnsname.Name, time.Time) error { return nil }
func (noFleet) Offer(context.Context, Entry) error                 { return nil }
func (noFleet) Watch(ctx context.Context, _ FleetListener)         { <-ctx.Done() }
func (noFleet) Failing() bool                                      { return false }

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
	e = e.normalizeClock(now)
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
	e.UsedDays = max(e.UsedDays, known.days())
	later := e.Fetched.Truncate(fleetGrain).After(known.Fetched().Truncate(fleetGrain))
	return e, later && (!ahead || e.Policy.Text != known.Policy().Text)
}

// mergeShared applies what the fleet knows of a domain of which known is known (nil: nothing live), and returns what is
// known then. It runs in the domain's lookup, or by Exclusive.
func (b *base) mergeShared(ctx context.Context, domain dnsname.Name, known *CachedPolicy, t SharedState) *CachedPolicy {
	now := b.clock.Now()
	if ended := earlier(t.Ended, now); known != nil && !ended.IsZero() &&
		!known.Fetched().Truncate(fleetGrain).After(ended) {
		if err := b.pending.delete(ctx, domain); err != nil {
			return known // it binds until it expires, or is forgotten here
		}
		b.forgetPolicy(domain)
		b.log.Info("policy forgotten by another host of the fleet", "event", "policy_forgotten", "domain", domain,
			"mode", known.mode)
		known = nil
	}
	if t.Entry == nil {
		return known
	}
	e, ok := adopt(now, known, *t.Entry)
	if !ok {
		return known
	}
	h := b.keep(ctx, e, time.Time{})
	b.metrics.adopted.Inc()
	b.learnt(known, h)
	return h
}

const (
	// maxHeard bounds the domains of which other hosts have told and that were not applied yet. More is not missed: the
	// next look at the domain's TXT record, or the next refresh, finds it.
	maxHeard = 10_000
	// applyWorkers is how many are applied at the same time: they share the store's commits.
	applyWorkers = 32
	// offerPace is the least time between two policies that are offered to a fleet that may have forgotten them.
	offerPace = 5 * time.Millisecond
	// offerRetry is the time until the next try when the fleet cannot be reached.
	offerRetry = time.Second
)

// subscriber follows the fleet: it applies what other hosts tell, and offers the fleet what it may have forgotten.
type subscriber struct {
	*base
	updater *updater

	heard            chan dnsname.Name
	missed, renewals chan struct{} // of one element each: more than one to come is one
}

func newSubscriber(b *base, u *updater) *subscriber {
	return &subscriber{base: b, updater: u, heard: make(chan dnsname.Name, maxHeard),
		missed: make(chan struct{}, 1), renewals: make(chan struct{}, 1)}
}

// run follows the fleet until ctx ends.
func (s *subscriber) run(ctx context.Context) {
	var running sync.WaitGroup
	for range applyWorkers {
		running.Go(func() { s.applyLoop(ctx) })
	}
	running.Go(func() { onEach(ctx, s.missed, s.applyMissed) })
	running.Go(func() { onEach(ctx, s.renewals, s.offerAll) })
	s.fleet.Watch(ctx, s)
	running.Wait()
}

// Heard implements FleetListener.
func (s *subscriber) Heard(domain dnsname.Name) {
	select {
	case s.heard <- domain:
	default:
	}
}

// Missed implements FleetListener.
func (s *subscriber) Missed() { signal(s.missed) }

// Renewed implements FleetListener.
func (s *subscriber) Renewed() { signal(s.renewals) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is to come already
	}
}

// onEach calls do for each signal, until ctx ends.
func onEach(ctx context.Context, signals <-chan struct{}, do func(context.Context)) {
	for {
		select {
		case <-signals:
			do(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// applyMissed applies what the fleet knows of each domain whose policy could not be learnt here: another host may have
// fetched it while nobody listened, and a question does not look again before the failure is due. What was missed of
// other domains is found when they are looked up next, and their mail does not go unprotected until then.
func (s *subscriber) applyMissed(ctx context.Context) {
	for domain := range s.memory.Failures() {
		select {
		case s.heard <- domain:
		case <-ctx.Done():
			return
		}
	}
}

func (s *subscriber) applyLoop(ctx context.Context) {
	for {
		select {
		case domain := <-s.heard:
			// An error is the end, or a panic that was logged. A lookup that runs now may have asked the fleet too
			// early.
			_ = s.lookups.Exclusive(ctx, domain, func() { s.apply(ctx, domain) })
		case <-ctx.Done():
			return
		}
	}
}

// apply applies what the fleet knows of a domain. It runs by Exclusive.
func (s *subscriber) apply(ctx context.Context, domain dnsname.Name) {
	known, inMemory := s.memory.Policy(domain)
	if !inMemory {
		var err error
		if known, err = s.updater.recall(ctx, domain); err != nil {
			return // there may be something newer in the store
		}
	}
	if known != nil && !s.live(known.term(), s.clock.Now()) {
		known = nil
	}
	s.mergeShared(ctx, domain, known, s.fleet.Find(ctx, domain))
}

// offerAll offers the fleet what the store has.
func (s *subscriber) offerAll(ctx context.Context) {
	offered := 0
	for e, err := range s.store.All(ctx) {
		if err != nil || !s.offer(ctx, e.Domain) {
			continue
		}
		offered++
		if pause(ctx, offerPace); ctx.Err() != nil {
			return
		}
	}
	s.log.Info("all policies of this host were offered to the fleet", "event", "shared_offered", "policies", offered)
}

// offer offers the fleet what the store has of a domain, and reports whether that was anything. It is read before each
// try, since the fleet may be away for days.
func (s *subscriber) offer(ctx context.Context, domain dnsname.Name) bool {
	for ctx.Err() == nil {
		e, err := s.store.Get(ctx, domain)
		now := s.clock.Now()
		if err != nil || !e.Live(now) || e.Fetched.After(now) || e.Doubtful() {
			return false
		}
		e.Failures = FetchFailures{} // what failed here says nothing of other hosts
		if s.fleet.Offer(ctx, e) == nil {
			return true
		}
		pause(ctx, offerRetry)
	}
	return false
}
