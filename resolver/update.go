package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// errTooSlow: it is not the network's word, but ours, that ends the lookup.
var errTooSlow error = &fault.Error{Kind: fault.Exhausted, Cure: "too many lookups in progress, or a slow network",
	Err: fmt.Errorf("not finished within %v", updateLimit)}

// step runs inside the domain's flight, and only there: nothing else writes what is known of a domain.
func (s *Service) step(domain dnsname.Name) Finding {
	if isInvalid(domain) {
		none := noPolicy(s.now(), minNegative)
		s.demands.take(s.now(), domain).meet(none)
		return none
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, updateLimit, errTooSlow)
	defer cancel()
	known, inMemory := s.memory.Policy(domain)
	var unread error
	if !inMemory {
		known, unread = s.recall(ctx, domain)
	}
	if known != nil {
		known = s.normalizeClock(ctx, known, inMemory)
	}
	if known != nil && !inMemory && !known.Entry.Doubtful() {
		return known // who asked need not wait for the network; a check follows in the background
	}
	if known == nil {
		if known = s.lookupShared(ctx, domain); known != nil {
			return known
		}
	}
	found := s.update(ctx, domain, known)
	if a, ok := found.(Negative); ok && unread != nil {
		now := s.now()
		s.memory.PutNegative(now, domain, brief(now, a)) // there may be a policy after all
	}
	return found
}

// isInvalid reports whether nobody can have the domain (RFC 6761 section 6.4): nobody is asked, and nothing is
// remembered, so that a question about one shows whether questions are answered, whatever the network and the disk do.
func isInvalid(domain dnsname.Name) bool { return strings.HasSuffix(domain.String(), ".invalid") }

// recall looks for the domain in the store; nil: there is nothing, or, with an error, the store could not be read.
func (s *Service) recall(ctx context.Context, domain dnsname.Name) (*CachedPolicy, error) {
	if h := s.pending.unsaved(domain); h != nil {
		return h, nil
	}
	e, err := s.store.Get(ctx, domain)
	switch {
	case err == nil:
		return newCachedPolicy(e, e.Checked), nil
	case errors.Is(err, ErrNotCached):
		return nil, nil
	case ctx.Err() == nil:
		s.alertUnread(domain, err)
	}
	return nil, err
}

// alertUnread tells that the store cannot be read, once an hour.
func (s *Service) alertUnread(domain dnsname.Name, err error) {
	last, now := s.unreadAlert.Load(), s.now().Unix()
	const interval = int64(time.Hour / time.Second)
	if (now < last || now-last >= interval) && s.unreadAlert.CompareAndSwap(last, now) {
		s.log.Error("cannot read the policy store; domains whose policies are not in memory are looked up as if they "+
			"were new; check the disk and the state directory", "event", "store_read_failed", "domain",
			domain, "error", err)
	}
}

// settle makes what was known fit to be used now: nil when it has expired; its fetch time no later than now. A later
// one was written by a clock that ran ahead, and must not make the policy live longer than its max_age from here, nor
// must a backoff of that clock hold.
func (s *Service) normalizeClock(ctx context.Context, h *CachedPolicy, inMemory bool) *CachedPolicy {
	now := s.now()
	switch {
	case h.Entry.Fetched.After(now):
		e := h.Entry
		e.Fetched, e.Checked, e.Used = now, now, now
		e.Failures = e.Failures.at(now)
		return s.keep(ctx, e, now)
	case !h.Entry.Live(now):
		if inMemory {
			s.log.Info("policy expired; the domain is looked up again", "event", "policy_expired", "domain",
				h.Entry.Domain,
				"mode", h.Entry.Policy.Mode, "fetched", h.Entry.Fetched, "expired", h.Entry.Expires())
			s.memory.ForgetPolicy(h.Entry.Domain)
		}
		return nil
	case h.Entry.Failures != h.Entry.Failures.at(now):
		e := h.Entry
		e.Failures, e.Checked, e.Used = e.Failures.at(now), now, h.Used()
		return s.keep(ctx, e, now)
	case !inMemory && !h.Entry.Doubtful():
		s.memory.PutPolicy(h)
	}
	return h
}

// update looks at the network for a domain of which known is held (nil: nothing live) and does what plan says.
func (s *Service) update(ctx context.Context, domain dnsname.Name, known *CachedPolicy) (found Finding) {
	demanded := s.demands.take(s.now(), domain)
	defer func() { demanded.meet(found) }()
	s.lookingUp.Add(1)
	defer s.lookingUp.Add(-1)
	if err := acquire(ctx, s.lookups, "lookups"); err != nil {
		return s.busy(domain, known, lookupWork, err)
	}
	defer s.lookups.Release(1)
	done, err := s.fast.begin(ctx)
	if err != nil {
		return s.busy(domain, known, lookupWork, err)
	}
	defer done()
	cfg := s.config.Load()
	before, _ := s.memory.Negative(domain)
	before = withoutHostFailure(before)
	d := discover(ctx, cfg.DNS, domain)
	if s.ctx.Err() != nil {
		return s.busy(domain, known, lookupWork, s.ctx.Err())
	}
	s.metrics.discovered(d)
	if found := s.discovered(domain, known, before, d); found != nil {
		return found
	}
	now := s.now()
	next := plan(now, len(demanded) > 0 || s.due(cfg, domain, known, now), known, before, d)
	if p, fetches := next.(fetchNow); fetches && len(demanded) == 0 {
		t := s.await(ctx, cfg, known, look{domain, before, d, p})
		defer t.claim.release()
		if ctx.Err() != nil { // other hosts' fetches took all of the time
			return s.busy(domain, t.known, fetchWork, context.Cause(ctx))
		}
		now, known, next = s.now(), t.known, t.step
	}
	switch p := next.(type) {
	case note:
		return s.noted(ctx, now, known, p)
	case fetchNow:
		return s.fetch(ctx, cfg, domain, known, before, p)
	case forget:
		return s.forget(ctx, now, known, p)
	default:
		a := p.(accept).negative
		s.logNegative(domain, d, before, a)
		s.memory.PutNegative(now, domain, a)
		return a
	}
}

// acquire takes one of the slots, waiting in order, but not longer than queueLimit.
func acquire(ctx context.Context, slots *semaphore.Weighted, what string) error {
	if slots.TryAcquire(1) { // it lets nobody overtake those who wait
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueLimit)
	defer cancel()
	if err := slots.Acquire(ctx, 1); err != nil {
		return &fault.Error{Kind: fault.Exhausted,
			Cure: "too many " + what + " in progress: check that the DNS resolver is fast", Err: err}
	}
	return nil
}

// busy is the finding when nothing could be learnt for a reason of our own: what is held still binds.
func (s *Service) busy(domain dnsname.Name, known *CachedPolicy, work hostWork, err error) Finding {
	if s.ctx.Err() == nil {
		return s.ownFault(domain, known, nil, work, err)
	}
	if known == nil {
		return Closed{}
	}
	known.checkFrom(s.now().Add(recheckFailed))
	return known
}

// noted keeps a live policy as it is. It is written only where the time of last use has grown too old.
func (s *Service) noted(ctx context.Context, now time.Time, known *CachedPolicy, p note) Finding {
	known.checkFrom(p.checkAt)
	if used := known.Used(); used.Sub(known.Entry.Used) > useWrite {
		e := known.Entry
		e.Used, e.Checked = used, now
		return s.keep(ctx, e, p.checkAt)
	}
	s.schedule(known)
	return known
}

func (s *Service) fetch(ctx context.Context, cfg *config, domain dnsname.Name, known *CachedPolicy, before Negative,
	p fetchNow) Finding {
	if err := acquire(ctx, cfg.fetches, "fetches"); err != nil {
		return s.busy(domain, known, fetchWork, err)
	}
	policy, err := func() (mtasts.Policy, error) {
		defer cfg.fetches.Release(1) // also after a panic
		s.fetching.Add(1)
		defer s.fetching.Add(-1)
		return cfg.Fetcher.Fetch(ctx, domain)
	}()
	if err != nil && s.ctx.Err() != nil {
		return s.busy(domain, known, fetchWork, err)
	}
	s.metrics.fetched(err)
	if found := s.ownFault(domain, known, before, fetchWork, err); found != nil {
		return found
	}
	now := s.now()
	if err != nil {
		s.report(domain, known, err)
		p.claim.fail() // the one place that tells the fleet of a failure
		return s.fetchFailed(ctx, now, domain, known, before, p, err)
	}
	return s.fetched(ctx, now, domain, known, policy, p)
}

func (s *Service) fetched(ctx context.Context, now time.Time, domain dnsname.Name, known *CachedPolicy,
	policy mtasts.Policy,
	p fetchNow) Finding {
	s.hostFaults.worked(fetchWork)
	e := Entry{Domain: domain, ID: p.id, Policy: policy, Fetched: now, Checked: now, Used: now}
	if known != nil {
		e.Used = known.Used()
	}
	h := s.keep(ctx, e, p.checkAt)
	s.fleet.Share(ctx, h.Entry)
	s.logFetched(known, h)
	if known == nil {
		s.noteLearnt()
	}
	if known == nil || known.Entry.Policy.Text != policy.Text {
		s.lint(e)
	}
	return h
}

// fetchFailed keeps a live policy as it was (RFC 8461 section 3.3), or remembers that there is none to be had.
func (s *Service) fetchFailed(ctx context.Context, now time.Time, domain dnsname.Name, known *CachedPolicy,
	before Negative,
	p fetchNow, err error) Finding {
	if known == nil {
		var t FetchFailures
		if b, ok := before.(*FetchFailed); ok && now.Before(b.Expires()) {
			t = b.Failures.at(now)
		}
		a := &FetchFailed{Failures: t.after(now, p.id, err.Error()), At: now, CheckAt: p.checkAt, Err: err}
		s.logFetchFailed(domain, a)
		s.memory.PutNegative(now, domain, a)
		return a
	}
	e := known.Entry
	e.Failures = e.Failures.after(now, p.id, err.Error())
	e.Checked, e.Used = now, known.Used()
	s.logRefreshFailed(now, &e)
	return s.keep(ctx, e, p.checkAt)
}

func (s *Service) forget(ctx context.Context, now time.Time, known *CachedPolicy, p forget) Finding {
	domain := known.Entry.Domain
	if err := s.pending.delete(ctx, domain); err != nil {
		// It stays until its max_age ends, which is safe: mode none asks for nothing.
		known.checkFrom(now.Add(maxCheck))
		return known
	}
	s.forgetPolicy(domain)
	// the others find the record gone by themselves, if they are not told
	_ = s.fleet.End(ctx, domain, known.Entry.Fetched)
	s.memory.PutNegative(now, domain, p.negative)
	s.log.Info("policy of mode none forgotten: its TXT record is gone", "event", "policy_forgotten", "domain", domain)
	return p.negative
}

// keep writes an entry to the store, then to memory, then sees to its next refresh. When it returns, Postfix may be
// told.
func (s *Service) keep(ctx context.Context, e Entry, checkAt time.Time) *CachedPolicy {
	h := newCachedPolicy(e, checkAt)
	s.pending.save(ctx, h)
	s.memory.PutPolicy(h)
	s.schedule(h)
	return h
}
