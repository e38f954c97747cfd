package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/lookups"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// errTooSlow is a limit of stsmapd's that ends a lookup; the network has said nothing.
var errTooSlow error = &fault.Error{Kind: fault.Exhausted, Cure: "too many lookups in progress, or a slow network",
	Err: fmt.Errorf("not finished within %v", updateLimit)}

// updater looks domains up. Its lookUp runs in the Group of lookups, at most once for a domain at a time: whatever else
// writes what is known of a domain runs in the same Group, by Exclusive.
type updater struct {
	*base
	slots       *fair.Slots // maxLookups
	limiter     *lookupLimiter
	unreadAlert atomic.Int64 // clock.Ticks of the last log line about a store that cannot be read
	lookingUp   atomic.Int64 // domains in update
	fetching    atomic.Int64 // of them, those in a fetch
}

func newUpdater(b *base, maxBusy int) *updater {
	return &updater{base: b, slots: fair.New(maxLookups, fair.Share(maxLookups)), limiter: newLookupLimiter(maxBusy)}
}

// result is what a lookup found, for all who asked for it.
type result struct {
	finding Finding
	untried error // why the network could not be asked, or the policy fetched, by a fault of this host; nil: it could
}

// attempt is one lookup of a domain.
type attempt struct {
	domain  dnsname.Name
	reason  lookups.Reason
	closing context.Context // ends when the service is closed
	cfg     *config
	known   *CachedPolicy // live; nil: none
	expired *CachedPolicy // what is there but has expired by the clock of now; nil: nothing
	before  Negative      // what is remembered of the domain itself; nil: nothing

	outages [hostWorks]*outage // to which its failures belong
}

// owners are to whom the lookup and the fetch are accounted.
func (a *attempt) owners() fair.Owners {
	if a.known != nil {
		return a.known.Entry().owners()
	}
	return fair.Of(a.domain, 0)
}

// due reports whether the policy is to be fetched whatever its id: by an administrator's order, because it is in doubt,
// or because this lookup is its refresh and no other host's fetch has moved its time meanwhile. So the rate of
// refreshes has one bound: a question or an id check that finds a policy overdue leaves it to the refresher.
func (a *attempt) due(now time.Time) bool {
	switch {
	case a.reason == lookups.Forced:
		return true
	case a.known == nil:
		return false
	}
	e := a.known.Entry()
	endedByWallClock := !e.Live(now) // and lives by the clock that cannot be set
	return e.Doubtful() || endedByWallClock && !e.Failures.holdsBack(e.Failures.ID, now) ||
		a.reason == lookups.Refresh && !now.Before(e.NextCheck(a.cfg.RefreshInterval))
}

// lookUp looks a domain up. A question is content with a policy that the store or the fleet has, or that memory has by
// now; every other reason goes on to the network.
func (u *updater) lookUp(closing context.Context, domain dnsname.Name, reason lookups.Reason) result {
	if isInvalid(domain) {
		return result{finding: noPolicy(clock.Monotonic(), minNegative)}
	}
	ctx, cancel := context.WithTimeoutCause(closing, updateLimit, errTooSlow)
	defer cancel()
	known, inMemory := u.memory.Policy(domain)
	var unread error
	if !inMemory {
		known, unread = u.recall(ctx, domain)
	}
	a := &attempt{domain: domain, reason: reason, closing: closing, known: u.current(ctx, known, inMemory)}
	if a.known == nil {
		a.expired = known
		a.known = u.mergeShared(ctx, domain, nil, u.fleet.Find(ctx, domain))
	}
	if a.known != nil && reason == lookups.Question && !a.known.Entry().Doubtful() {
		return result{finding: a.known} // its id is checked in the background
	}
	r := u.update(ctx, a)
	if n, ok := r.finding.(Negative); ok && unread != nil {
		now := clock.Monotonic()
		u.memory.PutNegative(now, domain, brief(now, n)) // there may be a policy after all
	}
	return r
}

// isInvalid reports whether no domain of the name can exist (RFC 6761 section 6.4). Nothing is looked up or remembered
// for it, so that a question about one shows whether questions are answered, whatever the network and the disk do.
func isInvalid(domain dnsname.Name) bool { return strings.HasSuffix(domain.String(), ".invalid") }

// recall looks for the domain in the store; nil: there is nothing, or, with an error, the store could not be read.
func (u *updater) recall(ctx context.Context, domain dnsname.Name) (*CachedPolicy, error) {
	if h := u.pending.unsaved(domain); h != nil {
		return h, nil
	}
	e, err := u.store.Get(ctx, domain)
	switch {
	case err == nil:
		return NewCachedPolicy(e, time.Time{}), nil
	case errors.Is(err, ErrNotCached):
		return nil, nil
	case ctx.Err() == nil:
		u.alertUnread(domain, err)
	}
	return nil, err
}

// alertUnread logs that the store cannot be read, once an hour.
func (u *updater) alertUnread(domain dnsname.Name, err error) {
	last, now := u.unreadAlert.Load(), clock.Ticks(clock.Monotonic())
	if now-last >= int64(time.Hour) && u.unreadAlert.CompareAndSwap(last, now) {
		u.log.Error("cannot read the policy store; domains whose policies are not in memory are looked up as if they "+
			"were new; check the disk and the state directory", "event", "store_read_failed", "domain", domain,
			"error", err)
	}
}

// current makes what memory or the store has (nil: nothing) fit to be used now: nil when it has expired; no time in it
// later than now, which a clock that ran ahead has written. A policy of the store's is in memory afterwards, unless it
// is in doubt.
func (u *updater) current(ctx context.Context, h *CachedPolicy, inMemory bool) *CachedPolicy {
	if h == nil {
		return nil
	}
	now := u.clock.Now()
	e := u.normalized(h.marked(), now)
	ahead := e.Fetched != h.Fetched() || e.Failures != h.Entry().Failures
	switch {
	case !u.live(e.term(), now):
		if inMemory {
			u.log.policyExpired(e)
			u.memory.ForgetPolicy(e.Domain)
		}
		return nil
	case ahead && e.Doubtful():
		return NewCachedPolicy(e, time.Time{})
	case ahead:
		e.Checked = now
		return u.keep(ctx, e, time.Time{})
	case !inMemory && !e.Doubtful():
		u.memory.PutPolicy(h)
	}
	return h
}

// update asks the network about a domain and does what plan says.
func (u *updater) update(ctx context.Context, a *attempt) result {
	u.lookingUp.Add(1)
	defer u.lookingUp.Add(-1)
	release, err := acquire(ctx, u.slots, a.owners(), "lookups")
	if err != nil {
		return u.busy(a, lookupWork, err)
	}
	defer release()
	done, err := u.limiter.begin(ctx, a.owners())
	if err != nil {
		return u.busy(a, lookupWork, err)
	}
	defer done()
	a.cfg, a.outages = u.config.Load(), u.hostFaults.during()
	before, _ := u.memory.Negative(a.domain)
	a.before = withoutHostFailure(before)
	d := discover(ctx, a.cfg.DNS, a.domain)
	if a.closing.Err() != nil {
		return u.busy(a, lookupWork, a.closing.Err())
	}
	u.metrics.discovered(d)
	u.dns.looked(a.domain, d)
	now := instantOf(u.clock.Now())
	if _, failed := a.before.(*LookupFailed); failed && worked(d) {
		a.before = nil // the failures in a row have ended, whatever a fetch brings now
		u.memory.PutNegative(now.mono, a.domain, NoPolicy{})
	}
	if h := a.expired; a.known == nil && h != nil && u.live(h.term(), now.wall) { // the clock was set back meanwhile
		if a.known = h; !h.Entry().Doubtful() {
			u.memory.PutPolicy(h)
		}
	}
	next := plan(now, a.due(now.wall), a.known, a.before, d)
	if p, fetches := next.(fetchNow); fetches && !a.due(now.wall) {
		next = heldBack(now.mono, a, p, a.cfg.pace.Hold(now.mono, a.domain, p.id))
	}
	if p, fetches := next.(fetchNow); fetches && a.reason != lookups.Forced {
		var claim Claim
		next, claim = u.awaitTurn(ctx, a, d, p)
		defer claim.release()
		if ctx.Err() != nil { // other hosts' fetches took all of the time
			return u.busy(a, fetchWork, context.Cause(ctx))
		}
	}
	return u.do(ctx, a, d, next)
}

// do does what plan said.
func (u *updater) do(ctx context.Context, a *attempt, d discovery, next step) result {
	switch p := next.(type) {
	case note:
		return u.noted(ctx, a, p)
	case fetchNow:
		return u.fetch(ctx, a, p)
	case forget:
		return u.forget(ctx, a, p)
	default:
		n := p.(accept).negative
		switch f := n.(type) {
		case *LookupFailed:
			if fault.Of(f.Err) != fault.Domain {
				return u.unable(a, lookupWork, f.Err)
			}
			f.outages = outages{a.outages[lookupWork], a.cfg.network}
		case *FetchFailed:
			if f.outages.settings == nil { // what other hosts found
				f.outages.settings = a.cfg.network
			}
		}
		u.log.negative(a.domain, d, a.before, n)
		u.memory.PutNegative(clock.Monotonic(), a.domain, n)
		return result{finding: n}
	}
}

// busy is the result when nothing could be learnt for a reason of this host: what is known still binds.
func (u *updater) busy(a *attempt, work hostWork, err error) result {
	if a.closing.Err() == nil {
		r, _ := u.ownFault(a, work, err)
		return r
	}
	if a.known == nil {
		return result{finding: Closed{}, untried: lookups.ErrClosed}
	}
	a.known.checkFrom(clock.Monotonic().Add(recheckFailed))
	return result{finding: a.known, untried: lookups.ErrClosed}
}

// noted keeps a live policy as it is. It is written only where the time of last use has grown too old.
func (u *updater) noted(ctx context.Context, a *attempt, p note) result {
	a.known.checkFrom(p.checkAt)
	if a.known.usedAgain() {
		e := a.known.marked()
		e.Checked = u.clock.Now()
		return result{finding: u.keep(ctx, e, p.checkAt)}
	}
	u.schedule(a.known)
	return result{finding: a.known}
}

// fetch gets the policy and keeps it, or what its failure leaves.
func (u *updater) fetch(ctx context.Context, a *attempt, p fetchNow) result {
	slot := &fetchSlot{slots: a.cfg.fetches, owners: a.owners()}
	if err := slot.acquire(ctx); err != nil {
		return u.busy(a, fetchWork, err)
	}
	total, cause := a.patience(instantOf(u.clock.Now()))
	fetchCtx, limit, cancel := fetch.WithLimit(ctx, total, cause)
	defer cancel()
	policy, err := func() (mtasts.Policy, error) {
		defer func() { slot.release() }() // also after a panic
		u.fetching.Add(1)
		defer u.fetching.Add(-1)
		return a.cfg.Fetcher.Fetch(fetch.WithAdmission(fetchCtx, slot.admit), a.domain)
	}()
	took := limit.Spent()
	if err != nil && a.closing.Err() != nil {
		return u.busy(a, fetchWork, err)
	}
	u.metrics.fetched(err)
	if r, failed := u.ownFault(a, fetchWork, err); failed {
		return r
	}
	if err != nil {
		u.report(a.domain, a.known, err)
		p.claim.fail() // the one place that tells the fleet of a failure
		return result{finding: u.fetchFailed(ctx, a, p, err, took)}
	}
	return result{finding: u.fetched(ctx, a, p, policy, slot.network)}
}

func (u *updater) fetched(ctx context.Context, a *attempt, p fetchNow, policy mtasts.Policy,
	network fair.Network) Finding {
	u.hostFaults.worked(fetchWork)
	u.clock.Observe()
	now := u.clock.Now()
	a.cfg.pace.Worked(clock.Monotonic(), a.domain)
	e := Entry{Domain: a.domain, ID: p.id, Policy: policy, Fetched: now, Checked: now, Used: now, UsedDays: 1,
		Network: network}
	if a.known != nil {
		marked := a.known.marked()
		e.Used, e.UsedDays = marked.Used, marked.UsedDays
	}
	h := u.keep(ctx, e, p.checkAt)
	u.fleet.Share(ctx, h.Entry())
	u.learnt(a.known, h)
	if a.known == nil || a.known.Policy().Text != policy.Text {
		u.lint(e)
	}
	return h
}

// fetchFailed keeps a live policy as it was (RFC 8461 section 3.3), or remembers that none can be fetched.
func (u *updater) fetchFailed(ctx context.Context, a *attempt, p fetchNow, err error, took time.Duration) Finding {
	at, tries := instantOf(u.clock.Now()), 1
	var noAddress *dnsclient.Error
	if !errors.As(err, &noAddress) { // else no policy host was asked
		tries = a.cfg.pace.Failed(at.mono, a.domain, p.id, took)
	}
	if a.known == nil {
		now := at.mono
		var before FetchFailures
		if b, ok := a.before.(*FetchFailed); ok && now.Before(b.Expires()) {
			before = b.Failures
		}
		f := &FetchFailed{Failures: before.after(now, p.id, tries, err.Error()), At: now, CheckAt: p.checkAt, Err: err,
			outages: outages{settings: a.cfg.network}}
		if noAddress != nil {
			f.outages.work = a.outages[lookupWork]
		}
		u.log.fetchFailed(a.domain, f)
		u.memory.PutNegative(now, a.domain, f)
		return f
	}
	now, e := at.wall, a.known.marked()
	e.Failures = e.Failures.after(now, p.id, tries, err.Error())
	e.Checked = now
	if u.config.Load().network != a.cfg.network { // a reload has changed what this fetch went by
		e.Failures.RetryAt = now
	}
	u.log.refreshFailed(now, u.ends(e, now), &e)
	return u.keep(ctx, e, p.checkAt)
}

// forget ends a policy of mode none.
func (u *updater) forget(ctx context.Context, a *attempt, p forget) result {
	if err := u.pending.delete(ctx, a.domain); err != nil {
		// It stays until its max_age ends, which is safe: mode none asks for nothing.
		a.known.checkFrom(clock.Monotonic().Add(maxCheck))
		return result{finding: a.known}
	}
	u.forgetPolicy(a.domain)
	// The other hosts find that the record is gone by themselves where they cannot be told.
	_ = u.fleet.End(ctx, a.domain, a.known.Fetched())
	u.memory.PutNegative(clock.Monotonic(), a.domain, p.negative)
	u.log.Info("policy of mode none forgotten: its TXT record is gone", "event", "policy_forgotten",
		"domain", a.domain)
	return result{finding: p.negative}
}

// keep writes an entry to the store, then to memory, and schedules its refresh. When it returns, Postfix may be told.
func (b *base) keep(ctx context.Context, e Entry, checkAt time.Time) *CachedPolicy {
	h := NewCachedPolicy(e, checkAt)
	b.pending.save(ctx, h)
	if old, ok := b.memory.Policy(e.Domain); ok {
		if used := earlier(old.Used(), b.clock.Now()); used.After(h.Used()) {
			h.use(used) // it has answered questions during the write
		}
	}
	b.memory.PutPolicy(h)
	b.schedule(h)
	return h
}

// learnt logs a policy that was kept, and notes how the store has grown.
func (b *base) learnt(before, now *CachedPolicy) {
	b.log.policyFetched(before, now)
	grown := now.Entry().size()
	if before != nil {
		grown -= before.Entry().size()
	}
	b.size.learnt(b.store.Len(), grown, b.config.Load().limit())
}
