// Package resolver answers what MTA-STS policy (RFC 8461) applies to a domain, and keeps what it has found.
//
// A question goes from service.go to memory; what memory does not know, one lookup for the domain finds (update.go),
// for all who ask meanwhile (package lookups). plan.go holds the rules of a policy's life, without I/O. decide.go turns
// findings into the one answer. refresh.go fetches policies before they expire, and evict.go removes what has; claim.go
// and fleet.go share the work with other hosts; admin.go is for administrators.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/due"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/lookups"
	"github.com/stsmapd/stsmapd/resolver/pace"
)

// Settings is what a reload may change.
type Settings struct {
	DNS       DNS
	TrustedAD func() bool // whether the DNS servers' AD bit can be trusted; nil: it cannot
	// ProbeDNS returns nil if a DNS server answers, whatever it says. nil: the DNS is judged by the lookups alone.
	ProbeDNS         func(context.Context) error
	SecureDNS        dane.DNS // for DANE: the same servers, asked so that they say what DNSSEC proves; nil: DNS
	Fetcher          Fetcher
	NoRoots          bool          // there is no trusted CA: every fetch fails
	FetchConcurrency int           // fetches in progress at the same time; refreshes have half of them. 0 = 64
	RefreshInterval  time.Duration // of proactive fetches, at most; 0 = 24 h
	// Network changes with what lookups and fetches go by: DNS servers, limits, CA roots. Then what failed is tried
	// again: with the next question where no policy is live, else by a refresh at once.
	Network       uint64
	Overrides     *Overrides
	Reporter      Reporter      // of failed policy fetches; nil: none
	MaxPolicies   int           // in the store, about; 0 = 1,000,000
	MaxStoreBytes int64         // of the policies in the store, about; 0 = 2 GiB
	UnusedAfter   time.Duration // policies not asked for so long are not refreshed; 0 = 2160 h (90 days)
}

// Options is what a Service is made of.
type Options struct {
	Settings Settings
	Store    Store
	Memory   Memory
	Fleet    Fleet // nil: this host is alone
	Logger   *slog.Logger
	// DANEMemory is where DANE findings are remembered.
	DANEMemory dane.Memory
	// Renewed tells that the store may lack policies that it had: those in memory are written again. nil: that never
	// happens.
	Renewed <-chan struct{}
	// Registerer takes the metrics, all named stsmapd_…; nil: nobody reads them.
	Registerer prometheus.Registerer
	// Now is the wall clock: WallClock, or in tests one that can be set.
	Now func() time.Time
	// Boot is a clock that nobody can set: clock.Boot; nil: Go's monotonic one, which stops while the host sleeps.
	Boot func() time.Duration
}

// WallClock is UTC without a monotonic reading: times that are persisted must compare with times that are not.
func WallClock() time.Time { return time.Now().UTC().Round(0) }

// Limits that keep an answer within the 100 s that Postfix waits, whatever the load is.
const (
	maxLookups = 1024 // domains that are looked up at the same time, for questions and in the background
	// maxBusyLookups is how many of them, for each processor, may have begun less than slowLookup ago: see
	// lookupLimiter. A lookup by a resolver nearby takes about 2 ms of a processor in 100 ms.
	maxBusyLookups = 52
	queueLimit     = 20 * time.Second // for one of the lookups, and again for one of the fetches
	updateLimit    = 80 * time.Second // one domain's lookup and fetch, waiting included
	questionLimit  = 85 * time.Second // a question, before DANE has its 10 s
)

// base is what the parts of a Service share.
type base struct {
	disk
	clock      *clock.Clock // the wall clock, with what it says after a jump
	log        events
	config     atomic.Pointer[config]
	memory     Memory
	queue      *due.Queue
	fleet      Fleet
	lookups    *lookups.Group[dnsname.Name, result] // whatever writes what is known of a domain runs in it
	background *background
	hostFaults *hostFaults
	dns        *dnsWatch
	metrics    *metrics
}

// disk is the store, with what waits for it and what it may hold.
type disk struct {
	store   Store
	pending *pendingWrites
	size    storeSize
}

// config is Settings with defaults, and the semaphores that depend on them.
type config struct {
	Settings
	fetches      *fair.Slots
	refreshes    *semaphore.Weighted
	maxRefreshes int           // in refreshes
	network      *outage       // ends when a reload changes Settings.Network
	pace         *pace.Fetches // of policy hosts; it begins again then
	changed      time.Time     // when that was the last time; zero: not yet
}

// limit is what the store may hold.
func (c *config) limit() bounds { return bounds{c.MaxPolicies, c.MaxStoreBytes} }

// Service answers questions: from memory, else the store, else the fleet, else the DNS and HTTPS. It is safe for
// concurrent use.
type Service struct {
	*base
	dane       *dane.Judge
	updater    *updater
	evictor    *evictor
	refresher  *refresher
	subscriber *subscriber
	refiller   *refiller
	closing    sync.Once
}

// NewService makes a service. Run must be called for the proactive refresh, and Close at the end.
func NewService(o Options) *Service {
	log, stagger := events{o.Logger}, time.Duration(0)
	if o.Fleet != nil {
		stagger = staggerMax
	}
	b := &base{
		disk: disk{store: o.Store, pending: newPendingWrites(o.Store, log),
			size: storeSize{over: make(chan struct{}, 1)}},
		clock: clock.New(o.Now, o.Boot, log.clockJumped), log: log, memory: o.Memory, fleet: o.Fleet,
		queue: due.New(stagger), background: newBackground(log), metrics: newMetrics(o.Registerer),
	}
	b.hostFaults = newHostFaults(o.Logger, b.metrics.hostFaults)
	b.dns = &dnsWatch{base: b}
	if b.fleet == nil {
		b.fleet = noFleet{}
	}
	s := &Service{base: b, updater: newUpdater(b, maxBusyLookups*runtime.GOMAXPROCS(0))}
	b.lookups = lookups.New(s.updater.lookUp, log.panicked)
	s.evictor = &evictor{base: b}
	s.refresher = &refresher{base: b, evictor: s.evictor, retries: make(chan struct{}, 1)}
	s.subscriber = newSubscriber(b, s.updater)
	s.refiller = &refiller{base: b, renewed: o.Renewed}
	s.dane = dane.New(dane.Options{
		DNS: func() dane.DNS { return s.config.Load().SecureDNS }, Memory: o.DANEMemory, Logger: o.Logger,
		HostFault:  func(err error) { s.hostFaults.failed(clock.Monotonic(), lookupWork, err) },
		Registerer: o.Registerer,
	})
	s.Reconfigure(o.Settings)
	s.registerGauges(o.Registerer)
	return s
}

// Reconfigure puts new settings in force; lookups in progress end with the old ones.
func (s *Service) Reconfigure(set Settings) {
	if set.SecureDNS == nil {
		set.SecureDNS = set.DNS
	}
	if set.FetchConcurrency <= 0 {
		set.FetchConcurrency = 64
	}
	if set.RefreshInterval <= 0 {
		set.RefreshInterval = 24 * time.Hour
	}
	if set.MaxPolicies <= 0 {
		set.MaxPolicies = 1_000_000
	}
	if set.MaxStoreBytes <= 0 {
		set.MaxStoreBytes = 2 << 30
	}
	if set.UnusedAfter <= 0 {
		set.UnusedAfter = 90 * 24 * time.Hour
	}
	network, fetches, changed := new(outage), new(pace.Fetches), time.Time{}
	if old := s.config.Load(); old != nil && old.Network == set.Network {
		network, fetches, changed = old.network, old.pace, old.changed
	} else if old != nil {
		changed = s.clock.Now()
		defer func() { // when no lookup begins with the old settings any more
			old.network.ended.Store(true)
			signal(s.refresher.retries)
		}()
	}
	refreshes := max(set.FetchConcurrency/2, 1)
	s.config.Store(&config{
		Settings:     set,
		network:      network,
		pace:         fetches,
		changed:      changed,
		fetches:      fair.New(set.FetchConcurrency, fair.Share(set.FetchConcurrency)),
		refreshes:    semaphore.NewWeighted(int64(refreshes)),
		maxRefreshes: refreshes,
	})
}

// Run refreshes policies before they expire, looks after the store, and follows the fleet, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.refresher.scanLoop(ctx) })
	running.Go(func() { onEach(ctx, s.refresher.retries, s.refresher.retryFailed) })
	running.Go(func() { every(ctx, saveRetry, func() { s.pending.retry(ctx, s.lookups.Exclusive) }) })
	running.Go(func() { s.refiller.run(ctx) })
	running.Go(func() { s.dns.run(ctx) })
	running.Go(func() { s.subscriber.run(ctx) })
	s.refresher.run(ctx)
}

// every calls f each time that the interval has passed, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Close ends all lookups, waits for them, and tries to write what still waits for the disk. Questions that wait, and
// those that come after, are told Closing unless memory knows the answer.
func (s *Service) Close() {
	s.lookups.Close()
	s.dane.Close()
	s.background.close()
	s.closing.Do(s.pending.last)
}

// Admin returns the administrators' view of the service.
func (s *Service) Admin() *Admin { return &Admin{base: s.base, dane: s.dane, updater: s.updater} }

// Answer answers a question: at once where memory knows, else after a lookup. It takes no longer than 95 s. An answer
// out of memory does not allocate.
func (s *Service) Answer(ctx context.Context, q Question) Verdict {
	at := instantOf(s.clock.Now())
	now := at.wall
	override := s.config.Load().Overrides.For(q.Domain, now)
	begin := s.metrics.sample()
	f := s.remembered(at, q.Domain)
	switch {
	case f != nil:
	case override.replaces():
		// No answer needs the policy, but so it is there when the override ends.
		s.lookUpInBackground(q.Domain, lookups.Question)
	default:
		f, begin = s.findWaiting(ctx, q.Domain), time.Time{}
		if h, ok := f.(*CachedPolicy); ok && !h.term().covers(now) {
			now = s.clock.Now() // the clock was set back meanwhile
		}
	}
	v := Decide(s.decisionTime(now, f), q, override, f, func() dane.Finding {
		begin = time.Time{} // it may wait
		return s.dane.Find(ctx, q.Destination)
	})
	s.metrics.answered(begin)
	return v
}

// remembered is what memory knows; nil: nothing that may be answered.
func (s *Service) remembered(now instant, domain dnsname.Name) Finding {
	if h, ok := s.memory.Policy(domain); ok && s.live(h.term(), now.wall) {
		return s.serve(now, h)
	}
	if a, ok := s.memory.NoPolicy(domain); ok && a.Fresh(now.mono) {
		return NoPolicy{} // a finding without its end, which no answer needs, takes no memory
	}
	if a, ok := s.memory.Negative(domain); ok && a.Fresh(now.mono) {
		return a
	}
	return nil
}

func (s *Service) findWaiting(ctx context.Context, domain dnsname.Name) Finding {
	begin := time.Now()
	f := s.wait(ctx, domain)
	s.metrics.waited.Observe(time.Since(begin).Seconds())
	if h, ok := f.(*CachedPolicy); ok {
		return s.serve(instantOf(s.clock.Now()), h)
	}
	return f
}

// serve marks the use of a live policy and has its id checked in the background when that is due.
func (s *Service) serve(now instant, h *CachedPolicy) *CachedPolicy {
	if h.use(now.wall) {
		s.schedule(h) // it may not have been queued, as one that nobody asks for
	}
	if h.claimCheck(now.mono) && !s.lookUpInBackground(h.domain, lookups.IDCheck) {
		h.checkFrom(now.mono) // too much is in progress: a later question starts it
	}
	return h
}

var (
	errTooLong  = fmt.Errorf("the lookup takes longer than %v", questionLimit)
	errInternal = errors.New("internal fault, see stsmapd's log")
)

// wait looks the domain up together with all who ask for it, as long as Postfix would wait.
func (s *Service) wait(ctx context.Context, domain dnsname.Name) Finding {
	asked := s.clock.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, questionLimit, errTooLong)
	defer cancel()
	r, err := s.lookups.Ask(ctx, domain, lookups.Question)
	if err == nil && r.Joined && s.outdated(r.Value.finding, asked) {
		r, err = s.lookups.Ask(ctx, domain, lookups.Question)
	}
	var panicked *lookups.PanicError
	switch {
	case err == nil:
		return r.Value.finding
	case errors.As(err, &panicked):
		return Busy{errInternal}
	case errors.Is(err, errTooLong):
		return Busy{fmt.Errorf("look up %s: %w", domain, err)}
	default:
		return Closed{}
	}
}

// outdated reports whether what a lookup brought is no answer for a question that came at asked, after the lookup had
// begun: the policy that it only compared with the TXT record had expired by then, or the negative is over. Then the
// domain must be looked up once more.
func (s *Service) outdated(f Finding, asked time.Time) bool {
	switch f := f.(type) {
	case *CachedPolicy:
		return !s.live(f.term(), asked)
	case Negative:
		return !f.Fresh(clock.Monotonic())
	}
	return false
}

// lookUpInBackground starts a lookup that no question waits for; false: too many are in progress.
func (b *base) lookUpInBackground(domain dnsname.Name, reason lookups.Reason) bool {
	release, ok := b.background.slots.TryAcquire(fair.Of(domain, 0))
	if !ok {
		return false
	}
	lookup := b.lookups.Start(domain, reason)
	go func() {
		defer release()
		<-lookup.Done()
	}()
	return true
}
