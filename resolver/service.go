package resolver

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Fetcher gets policies; *HTTPFetcher is one.
type Fetcher interface {
	// Fetch gets a domain's policy. Every error is a *FetchError.
	Fetch(context.Context, dnsname.Name) (mtasts.Policy, error)
}

// Settings is what a reload may change.
type Settings struct {
	DNS              DNS
	SecureDNS        dane.DNS // for DANE: the same servers, asked so that they say what DNSSEC proves; nil: DNS
	Fetcher          Fetcher
	FetchConcurrency int           // fetches under way at once; refreshes have half of them. 0 = 64
	RefreshInterval  time.Duration // of proactive fetches, at most; 0 = 24 h
	Overrides        *Overrides
	Reporter         Reporter      // of failed policy fetches; nil: nobody wants to know
	MaxPolicies      int           // in the store, about: the longest unused go; 0 = 1,000,000
	UnusedAfter      time.Duration // policies not asked for so long are not refreshed; 0 = 2160 h (90 days)
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
	// Renewed tells that the store may lack policies that it had: those in memory are put again. nil: that never
	// happens.
	Renewed <-chan struct{}
}

// Limits that keep an answer within the 100 s that Postfix waits, however much is going on.
const (
	maxLookups = 1024 // domains that are looked up at once, for questions and in the background
	maxChecks  = 256  // of them, background checks of an id
	// of them, for each processor, those that began less than slowLookup ago: see fast
	maxBusyLookups = 52
	queueLimit     = 20 * time.Second // for one of the lookups, and again for one of the fetches
	updateLimit    = 80 * time.Second // one domain's lookup and fetch, waiting included
	questionLimit  = 85 * time.Second // a question, before DANE has its 10 s
)

// Service answers questions: from memory, else the store, else the fleet, else the DNS and HTTPS. It is safe for
// concurrent use.
type Service struct {
	store  Store
	memory Memory
	fleet  Fleet
	seed   maphash.Seed // of this host's own part of what is staggered over the fleet
	log    *slog.Logger
	now    func() time.Time
	config atomic.Pointer[config]

	flight      singleflight.Group  // one lookup for a domain at a time: it alone writes
	lookups     *semaphore.Weighted // maxLookups
	fast        *lookupLimiter
	checks      *semaphore.Weighted // maxChecks
	dane        *dane.Judge
	queue       *refreshQueue
	demands     demands // of administrators
	pending     *pendingWrites
	clock       *clockWatch // of the scans alone
	metrics     metrics
	hostFaults  hostFaults
	lookingUp   atomic.Int64  // domains in update
	fetching    atomic.Int64  // of them, those in a fetch
	learnt      atomic.Int64  // new policies since the last scan
	unreadAlert atomic.Int64  // Unix seconds of the last line about a store that cannot be read
	crowded     chan struct{} // calls for a scan
	renewed     <-chan struct{}

	ctx     context.Context // of all lookups; ends with Close
	cancel  context.CancelFunc
	running tracker // of all lookups
}

// config is Settings with defaults, and what hangs on them.
type config struct {
	Settings
	fetches   *semaphore.Weighted
	refreshes *semaphore.Weighted
}

// NewService makes a service. Run must be called for the proactive refresh, and Close at the end.
func NewService(o Options) *Service {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		store: o.Store, memory: o.Memory, fleet: o.Fleet, seed: maphash.MakeSeed(), log: o.Logger, now: wallClock,
		lookups: semaphore.NewWeighted(maxLookups), fast: newLookupLimiter(maxBusyLookups * runtime.GOMAXPROCS(0)),
		checks: semaphore.NewWeighted(maxChecks),
		queue:  newRefreshQueue(), pending: newPendingWrites(o.Store, o.Logger), crowded: make(chan struct{}, 1),
		clock: newClockWatch(wallClock()), renewed: o.Renewed,
		ctx: ctx, cancel: cancel,
	}
	if s.fleet == nil {
		s.fleet = noFleet{}
	}
	s.hostFaults.log = o.Logger
	s.metrics.remembered.bounds = memoryBounds()
	s.metrics.waited.bounds, s.metrics.waitedDANE.bounds = waitBounds(), waitBounds()
	s.dane = dane.New(dane.Options{
		DNS: func() dane.DNS { return s.config.Load().SecureDNS }, Memory: o.DANEMemory, Logger: o.Logger,
		HostFault: func(err error) { s.hostFaults.failed(s.now(), lookupWork, err) },
		Waited:    s.metrics.waitedDANE.observe,
		LookedUp:  func(status dane.Status) { s.metrics.dane[status].Add(1) },
	})
	s.Reconfigure(o.Settings)
	return s
}

// wallClock is UTC without a monotonic reading: what is persisted must compare with what is not.
func wallClock() time.Time { return time.Now().UTC().Round(0) }

// Reconfigure puts new settings in force; lookups under way end with the old ones.
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
	if set.UnusedAfter <= 0 {
		set.UnusedAfter = 90 * 24 * time.Hour
	}
	s.config.Store(&config{
		Settings:  set,
		fetches:   semaphore.NewWeighted(int64(set.FetchConcurrency)),
		refreshes: semaphore.NewWeighted(int64(max(set.FetchConcurrency/2, 1))),
	})
}

// Close ends all lookups, waits for them, and tries to write what still waits for the disk. Questions that wait, and
// those that come after, are told Closing unless memory knows the answer.
func (s *Service) Close() {
	first := s.running.close()
	s.cancel()
	s.dane.Close()
	s.running.wait()
	if first {
		s.pending.last(s.alone)
	}
}

// Answer answers a question: at once where memory knows, else after looking. It takes no longer than 95 s. See
// AnswerAtOnce too.
func (s *Service) Answer(ctx context.Context, q Question) Verdict {
	now := s.now()
	q, found := s.config.Load().Overrides.For(q.Domain, now).on(q)
	if found == nil {
		found = s.find(ctx, now, q.Domain)
	} else {
		s.prefetch(now, q.Domain)
	}
	v := Decide(now, q, dane.Finding{}, found)
	if v.Outcome != Enforce || !q.DANE {
		return v // DANE would not change it
	}
	return Decide(now, q, s.dane.Find(ctx, q.Destination), found)
}

// glance sees to it that an overruled domain's policy is known all the same, so that the end of the override takes
// effect at once. Nobody waits for it.
func (s *Service) prefetch(now time.Time, domain dnsname.Name) {
	if s.remembered(now, domain) == nil {
		s.background(domain)
	}
}

func (s *Service) find(ctx context.Context, now time.Time, domain dnsname.Name) Finding {
	if f := s.remembered(now, domain); f != nil {
		return f
	}
	return s.findWaiting(ctx, domain)
}

// remembered is what memory knows; nil: nothing that may be answered.
func (s *Service) remembered(now time.Time, domain dnsname.Name) Finding {
	if h, ok := s.memory.Policy(domain); ok && h.Entry.Live(now) {
		return s.serve(now, h)
	}
	if a, ok := s.memory.NoPolicy(domain); ok && a.Fresh(now) {
		return NoPolicy{} // a finding without its end, which nobody asks for, takes no memory
	}
	if a, ok := s.memory.Negative(domain); ok && a.Fresh(now) {
		return a
	}
	return nil
}

func (s *Service) findWaiting(ctx context.Context, domain dnsname.Name) Finding {
	begin := time.Now()
	f := s.wait(ctx, domain)
	s.metrics.waited.observe(time.Since(begin))
	if h, ok := f.(*CachedPolicy); ok {
		return s.serve(s.now(), h)
	}
	return f
}

// serve marks the use of a live policy and sees to its id in the background.
func (s *Service) serve(now time.Time, h *CachedPolicy) *CachedPolicy {
	h.use(now)
	if h.claimCheck(now) && !s.background(h.Entry.Domain) {
		h.checkAt.Store(now.Unix()) // too much is under way: a later question will see to it
	}
	return h
}

// background advances a domain while nobody waits, unless too many are being advanced so: then a later question will.
func (s *Service) background(domain dnsname.Name) bool {
	if !s.checks.TryAcquire(1) {
		return false
	}
	go func() {
		defer s.checks.Release(1)
		s.advanced(domain)
	}()
	return true
}

// wait advances the domain together with all who ask for it, as long as Postfix would wait.
func (s *Service) wait(ctx context.Context, domain dnsname.Name) Finding {
	asked, late := s.now(), false
	limit := time.NewTimer(questionLimit)
	defer limit.Stop()
	for {
		select {
		case r := <-s.advance(domain):
			found, ok := r.Val.(Finding)
			if ok && (late || !s.outlived(found, asked)) {
				return found
			}
			late = late || ok // the next flight began after the question: what it brings is as good as can be had
		case <-limit.C:
			return Busy{fmt.Errorf("looking up %s takes longer than %v", domain, questionLimit)}
		case <-ctx.Done():
			return Closed{}
		}
	}
}

// outlived reports whether a policy was over before somebody asked: the flight that brought it began while it lived,
// and only compared its id. Then there is nothing live, and who asked must look anew.
func (s *Service) outlived(f Finding, asked time.Time) bool {
	h, ok := f.(*CachedPolicy)
	return ok && !h.Entry.Live(asked) && !h.Entry.Live(s.now())
}

// nothingFound is what a flight that did not look brings those who joined it: they look again.
type nothingFound struct{}

// alone runs f inside the domain's flight, unless somebody else is in it: then f is not run.
func (s *Service) alone(domain dnsname.Name, f func()) {
	<-s.flight.DoChan(domain.String(), func() (any, error) {
		f()
		return nothingFound{}, nil
	})
}

// advance does the next thing that a domain needs, once for all who call it meanwhile: it takes a policy that only the
// store holds into memory, and looks at the network for every other domain.
func (s *Service) advance(domain dnsname.Name) <-chan singleflight.Result {
	return s.flight.DoChan(domain.String(), func() (val any, _ error) {
		if !s.running.begin() {
			return Finding(Closed{}), nil
		}
		defer s.running.done()
		defer func() {
			if r := recover(); r != nil {
				s.log.Error("a lookup failed by a fault in stsmapd; the mail is deferred; please report it", "event",
					"panic",
					"domain", domain, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
				val = Finding(Busy{errors.New("internal fault, see stsmapd's log")})
			}
		}()
		return s.step(domain), nil
	})
}

// advanced advances a domain and waits for it. A flight that did not look, but wrote to the store, does not count.
func (s *Service) advanced(domain dnsname.Name) Finding {
	for {
		r := <-s.advance(domain)
		if found, ok := r.Val.(Finding); ok {
			return found
		}
	}
}

// asideLimit bounds what is done aside.
const asideLimit = 30 * time.Second

// aside does what no answer waits for, unless too much is being done so already: it is not missed.
func (s *Service) inBackground(work func(context.Context)) {
	if !s.checks.TryAcquire(1) {
		return
	}
	if !s.running.begin() {
		s.checks.Release(1)
		return
	}
	go func() {
		defer s.running.done()
		defer s.checks.Release(1)
		defer func() {
			if r := recover(); r != nil {
				s.log.Error("a look at the DNS that no mail waits for failed by a fault in stsmapd; please report it",
					"event", "panic",
					"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			}
		}()
		ctx, cancel := context.WithTimeout(s.ctx, asideLimit)
		defer cancel()
		work(ctx)
	}()
}
