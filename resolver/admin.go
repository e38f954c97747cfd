package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/lookups"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Errors of Refresh and Forget that say something of stsmapd, not of the domain.
var (
	// ErrNotTried: too much is in progress, or this host lacks what a lookup needs. Try again in a minute.
	ErrNotTried = errors.New("too many lookups in progress; not tried")
	// ErrClosed: the service is closed, or was closed meanwhile. Ask the next stsmapd.
	ErrClosed = lookups.ErrClosed
)

// Admin is what administrators may see of a Service, and do to it. It is safe for concurrent use.
type Admin struct {
	*base
	dane    *dane.Judge
	updater *updater
}

// Known is all that is known of one domain at one time, for administrators. To ask for it changes nothing: it is no use
// of the policy, and sets off no look at the network.
type Known struct {
	Domain dnsname.Name

	// Entry is the policy that memory or the store has, live or not; nil: none. Times that lie ahead were written by a
	// clock that ran ahead, and are given as they count now.
	Entry    *Entry
	Live     bool      // Entry binds now
	InMemory bool      // a question is answered without the store
	Unsaved  bool      // Entry waits for the disk: a restart would forget it
	Used     time.Time // the last question, within a minute; zero: never

	// NextRefresh is when the policy is fetched again whatever its id; in the past: it waits for its turn. Zero: not at
	// all: it has not been used for Settings.UnusedAfter, or it expires before.
	NextRefresh time.Time
	// NextCheck: the first question after this has the TXT record looked at. Zero: the first question has.
	NextCheck time.Time

	Negative Negative  // why memory has no policy; nil: nothing is remembered
	Override *Override // that is in force for the domain; nil: none

	basis basis
}

// basis is what Known.Verdict decides from besides.
type basis struct {
	now    instant
	policy *CachedPolicy // of Entry
	lives  time.Time     // the time by which policy is judged
	judge  *dane.Judge
}

// Empty reports whether nothing is known of the domain.
func (k Known) Empty() bool { return k.Entry == nil && k.Negative == nil && k.Override == nil }

// Verdict is what a question about the domain is answered out of what is known; false: stsmapd would have to look
// first. The question's destination need only say what DANE wants to know of it; its domain is k's.
func (k Known) Verdict(q Question) (v Verdict, ok bool) {
	q.Domain = k.Domain
	var f Finding
	switch {
	case k.Override.replaces():
	case k.Live && k.InMemory:
		f = k.basis.policy
	case k.Negative != nil && k.Negative.Fresh(k.basis.now.mono):
		f = k.Negative // until then the store is not asked
	case k.Live:
		f = k.basis.policy
	default:
		return Verdict{}, false
	}
	ok = true
	at := k.basis.now.wall
	if f == k.basis.policy {
		at = k.basis.lives
	}
	v = Decide(at, q, k.Override, f, func() (found dane.Finding) {
		found, ok = k.basis.judge.Remembered(q.Destination)
		return found
	})
	return v, ok
}

// Known tells what is known of a domain. With an error the store could not be read, and may hold a policy of which
// Known knows nothing.
func (a *Admin) Known(ctx context.Context, domain dnsname.Name) (Known, error) {
	e, err := a.store.Get(ctx, domain)
	stored := &e
	if err != nil {
		stored = nil
		if errors.Is(err, ErrNotCached) {
			err = nil
		}
	}
	k := a.known(instantOf(a.clock.Now()), domain, stored, a.pending.unsaved(domain))
	if n, ok := a.memory.Negative(domain); ok && k.basis.now.mono.Before(n.Expires()) {
		k.Negative = n
	}
	return k, err
}

// Overrides returns the overrides that are in force now, by name.
func (a *Admin) Overrides() []*Override {
	now := a.clock.Now()
	return slices.DeleteFunc(a.config.Load().Overrides.All(), func(o *Override) bool { return o.Expired(now) })
}

// Entries yields what is known of every policy in the store, and of every one that waits for the disk, once each;
// Negative is not filled in. An entry that cannot be read yields its error, with the Domain where it is known, and the
// walk goes on.
func (a *Admin) Entries(ctx context.Context) iter.Seq2[Known, error] {
	return func(yield func(Known, error) bool) {
		waiting := a.pending.snapshot()
		for e, err := range a.store.All(ctx) {
			h := waiting[e.Domain]
			if err != nil {
				if !yield(Known{Domain: e.Domain}, err) {
					return
				}
				continue
			}
			delete(waiting, e.Domain)
			if !yield(a.known(instantOf(a.clock.Now()), e.Domain, &e, h), nil) {
				return
			}
		}
		for domain, h := range waiting {
			if ctx.Err() != nil {
				yield(Known{}, ctx.Err())
				return
			}
			if !yield(a.known(instantOf(a.clock.Now()), domain, nil, h), nil) {
				return
			}
		}
	}
}

// known puts together what the store has of a domain (nil: nothing), what waits for the disk (nil: nothing), and what
// is in memory, which is never older than that.
func (a *Admin) known(at instant, domain dnsname.Name, stored *Entry, waiting *CachedPolicy) Known {
	cfg, now := a.config.Load(), at.wall
	k := Known{Domain: domain, basis: basis{now: at, judge: a.dane}, Override: cfg.Overrides.For(domain, now),
		Unsaved: waiting != nil}
	cached, inMemory := a.memory.Policy(domain)
	k.InMemory = inMemory
	if cached == nil {
		cached = waiting
	}
	if stored != nil && (cached == nil || newer(*stored, cached.Entry())) {
		cached = NewCachedPolicy(*stored, time.Time{})
	}
	if cached == nil {
		return k
	}
	known := cached.Entry()
	e := a.normalized(known, now)
	k.Entry, k.Live, k.Used = &e, a.live(e.term(), now), earlier(cached.Used(), now)
	k.basis.policy = cached
	if e.Fetched != known.Fetched || e.Failures != known.Failures {
		k.basis.policy = NewCachedPolicy(e, time.Time{})
	}
	k.basis.lives = a.decisionTime(now, k.basis.policy)
	if at, ok := a.refreshAt(e, k.Used); ok && k.Live {
		k.NextRefresh = at
	}
	if next := cached.nextLook(); k.Live && k.InMemory && next.After(at.mono) {
		k.NextCheck = next
	}
	return k
}

// newer reports whether a was written after b.
func newer(a, b Entry) bool {
	return cmp.Or(a.Fetched.Compare(b.Fetched), a.Checked.Compare(b.Checked)) > 0
}

// Refresh fetches a domain's policy now, whatever its id, its backoff and the time when it is due: one lookup that runs
// behind a weaker one in progress. It returns what is known afterwards: *CachedPolicy, NoPolicy, *LookupFailed,
// *FetchFailed or *HostFailed. The error is nil when the fetch succeeded, and when the DNS says that there is no
// policy; ErrNotTried, ErrClosed or ctx's; else it says what is wrong with the domain's DNS or policy host, and a live
// policy stays in force.
func (a *Admin) Refresh(ctx context.Context, domain dnsname.Name) (Finding, error) {
	r, err := a.lookups.Ask(ctx, domain, lookups.Forced)
	var panicked *lookups.PanicError
	switch {
	case errors.Is(err, ErrClosed):
		return Closed{}, err
	case errors.As(err, &panicked):
		return nil, fmt.Errorf("%w: %w", ErrNotTried, errInternal)
	case err != nil:
		return nil, err
	}
	return r.Value.finding, r.Value.refreshError()
}

// refreshError says why a forced lookup brought no policy, or left a live one as it was; nil: it did not fail.
func (r result) refreshError() error {
	switch f := r.finding.(type) {
	case *CachedPolicy:
		switch {
		case errors.Is(r.untried, ErrClosed):
			return ErrClosed
		case r.untried != nil:
			return fmt.Errorf("%w: %w", ErrNotTried, r.untried)
		}
		if failures := f.Entry().Failures; failures.Count > 0 {
			return errors.New(failures.Reason)
		}
		return nil
	case *LookupFailed:
		return f.Err
	case *FetchFailed:
		return f.Err
	case *HostFailed:
		return f.Err
	case Closed:
		return ErrClosed
	case Busy:
		return fmt.Errorf("%w: %w", ErrNotTried, f.Err)
	default: // NoPolicy: the DNS says so
		return nil
	}
}

// ErrNoFleet: there is no fleet that could forget something. An administrator configures a shared engine, or forgets
// here alone.
var ErrNoFleet = errors.New("this stsmapd shares its memory with no other host (shared.url is not set)")

// ForgetEverywhere is Forget for all hosts of the fleet. Hosts that cannot be reached meanwhile keep what they know.
// With an error of the fleet's nothing is forgotten anywhere.
func (a *Admin) ForgetEverywhere(ctx context.Context, domain dnsname.Name) error {
	if _, alone := a.fleet.(noFleet); alone {
		return ErrNoFleet
	}
	if err := a.fleet.End(ctx, domain, a.clock.Now()); err != nil {
		return fmt.Errorf("the fleet cannot be told: %w", err)
	}
	_, err := a.Forget(ctx, domain)
	return err
}

// Forget removes all that is known of a domain, from memory and store, and reports whether that was anything. The next
// question finds the domain as if for the first time, and until then nothing protects its mail. The error is ErrClosed,
// ctx's, or the store's: then nothing is forgotten.
func (a *Admin) Forget(ctx context.Context, domain dnsname.Name) (something bool, err error) {
	excluded := a.lookups.Exclusive(ctx, domain,
		func() { something, err = a.forget(context.WithoutCancel(ctx), domain) })
	if excluded != nil {
		return false, excluded
	}
	return something, err
}

// forget runs by Exclusive.
func (a *Admin) forget(ctx context.Context, domain dnsname.Name) (something bool, err error) {
	k, err := a.Known(ctx, domain)
	if err != nil {
		return false, err
	}
	if k.Entry != nil {
		if err := a.pending.delete(ctx, domain); err != nil {
			return false, err
		}
		a.forgetPolicy(domain)
		a.log.Info("policy forgotten by an administrator's command", "event", "policy_forgotten", "domain", domain,
			"mode", k.Entry.Policy.Mode)
	}
	a.config.Load().pace.Forget(domain)
	n, negative := a.memory.Negative(domain)
	if negative {
		// It was over long ago, and is the first to be dropped.
		a.memory.PutNegative(k.basis.now.mono, domain, NoPolicy{})
	}
	return k.Entry != nil || negative && k.basis.now.mono.Before(n.Expires()), nil
}

// Activity is what the service does now, and whether it can. To tell it costs microseconds.
type Activity struct {
	Lookups   int  // domains that are being looked up
	Fetches   int  // of them, those whose policy is being fetched
	Negatives int  // domains without a policy in memory, expired ones included
	Unsaved   int  // policies that wait for the disk
	Unwritten int  // and those for which there was no room to wait: in memory alone
	Failing   bool // the last write to the store failed
	NoRoots   bool // there is no trusted CA: no policy can be fetched
	// lookups fail by a fault of this host, or for every domain; Status.HostFaults has the reason
	DNSFailing bool
	TrustedAD  bool // the DNS servers' AD bit can be trusted: DANE can be judged
}

// Activity tells what the service does now.
func (a *Admin) Activity() Activity {
	cfg := a.config.Load()
	now := Activity{Lookups: int(a.updater.lookingUp.Load()), Fetches: int(a.updater.fetching.Load()),
		Negatives: a.memory.Negatives(), NoRoots: cfg.NoRoots,
		DNSFailing: a.hostFaults.failing(lookupWork), TrustedAD: cfg.TrustedAD != nil && cfg.TrustedAD()}
	now.Unsaved, now.Unwritten, now.Failing = a.pending.state()
	return now
}

// Status is how the service does, for administrators.
type Status struct {
	Activity
	Stored       int         // policies in the store, expired ones included
	Refreshes    int         // proactive refreshes that are due before the next scan of the store
	Overdue      int         // of them, those whose time has come
	HostFaults   []HostFault // that keep this host from looking for policies; empty: it can
	FleetFailing bool        // there is a fleet, and it cannot be asked or told
}

// Status counts. It holds up no question.
func (a *Admin) Status() Status {
	st := Status{Activity: a.Activity(), Stored: a.store.Len(), FleetFailing: a.fleet.Failing(),
		HostFaults: a.HostFaults()}
	st.Refreshes, st.Overdue = a.queue.Count(a.clock.Now())
	return st
}

// HostFaults returns the faults that keep this host from looking for policies; empty: it can.
func (a *Admin) HostFaults() []HostFault { return a.hostFaults.list() }

// Unavailable yields the domains that announce a policy which cannot be fetched, as far as memory has them, in no
// order.
func (a *Admin) Unavailable() iter.Seq2[dnsname.Name, *FetchFailed] {
	return func(yield func(dnsname.Name, *FetchFailed) bool) {
		now := clock.Monotonic()
		for domain, n := range a.memory.Failures() {
			if f, ok := n.(*FetchFailed); ok && now.Before(f.Expires()) && !yield(domain, f) {
				return
			}
		}
	}
}

// MX looks up a domain's MX hosts. Without a record, the domain is its own MX host (RFC 5321 section 5.1) if it exists.
// The error is a *dnsclient.Error.
func (a *Admin) MX(ctx context.Context, domain dnsname.Name) (dnsclient.Answer[dnsclient.MX], error) {
	return a.config.Load().DNS.MX(ctx, domain.String())
}
