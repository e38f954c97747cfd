package resolver

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

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
	// all, for nobody has asked for it for long, or it expires before.
	NextRefresh time.Time
	// NextCheck: the first question after this has the TXT record looked at. Zero: the first question has.
	NextCheck time.Time

	Negative Negative  // why memory has no policy; nil: nothing is remembered
	Override *Override // that is in force for the domain; nil: none

	now    time.Time
	policy *CachedPolicy // of Entry
	judge  *dane.Judge
}

// Empty reports whether nothing is known of the domain.
func (k Known) Empty() bool { return k.Entry == nil && k.Negative == nil && k.Override == nil }

// Verdict is what a question about the domain is answered out of what is known; false: stsmapd would have to look
// first. The question's destination need only say what DANE wants to know of it; its domain is k's.
func (k Known) Verdict(q Question) (Verdict, bool) {
	q.Domain = k.Domain
	q, found := k.Override.on(q)
	switch {
	case found != nil:
	case k.Live && k.InMemory:
		found = k.policy
	case k.Negative != nil && k.Negative.Fresh(k.now):
		found = k.Negative // until then nobody looks into the store
	case k.Live:
		found = k.policy
	default:
		return Verdict{}, false
	}
	v := Decide(k.now, q, dane.Finding{}, found)
	if v.Outcome != Enforce || !q.DANE {
		return v, true
	}
	f, known := k.judge.Remembered(q.Destination)
	if !known {
		return Verdict{}, false
	}
	return Decide(k.now, q, f, found), true
}

// Known tells what is known of a domain. With an error the store could not be read, and may hold a policy of which
// Known knows nothing.
func (s *Service) Known(ctx context.Context, domain dnsname.Name) (Known, error) {
	e, err := s.store.Get(ctx, domain)
	stored := &e
	if err != nil {
		stored = nil
		if errors.Is(err, ErrNotCached) {
			err = nil
		}
	}
	k := s.known(s.now(), domain, stored, s.pending.unsaved(domain))
	if a, ok := s.memory.Negative(domain); ok && k.now.Before(a.Expires()) {
		k.Negative = a
	}
	return k, err
}

// Overrides returns the overrides that are in force now, by name.
func (s *Service) Overrides() []*Override {
	now := s.now()
	return slices.DeleteFunc(s.config.Load().Overrides.All(), func(o *Override) bool { return o.Expired(now) })
}

// Entries yields what is known of every policy in the store, and of every one that waits for the disk, once each;
// Negative is not filled in. An entry that cannot be read yields its error, with the Domain where it is known, and the
// walk goes on.
func (s *Service) Entries(ctx context.Context) iter.Seq2[Known, error] {
	return func(yield func(Known, error) bool) {
		waiting := s.pending.snapshot()
		for e, err := range s.store.All(ctx) {
			h := waiting[e.Domain]
			if err != nil {
				if !yield(Known{Domain: e.Domain}, err) {
					return
				}
				continue
			}
			delete(waiting, e.Domain)
			if !yield(s.known(s.now(), e.Domain, &e, h), nil) {
				return
			}
		}
		for domain, h := range waiting {
			if ctx.Err() != nil {
				yield(Known{}, ctx.Err())
				return
			}
			if !yield(s.known(s.now(), domain, nil, h), nil) {
				return
			}
		}
	}
}

// known puts together what the store has of a domain (nil: nothing), what waits for the disk (nil: nothing), and what
// is in memory, which is never older than that.
func (s *Service) known(now time.Time, domain dnsname.Name, stored *Entry, waiting *CachedPolicy) Known {
	cfg := s.config.Load()
	k := Known{Domain: domain, now: now, judge: s.dane, Override: cfg.Overrides.For(domain, now),
		Unsaved: waiting != nil}
	held, inMemory := s.memory.Policy(domain)
	k.InMemory = inMemory
	if held == nil {
		held = waiting
	}
	if stored != nil && (held == nil || newer(stored, &held.Entry)) {
		held = newCachedPolicy(*stored, stored.Checked)
	}
	if held == nil {
		return k
	}
	e := held.Entry.at(now)
	k.Entry, k.Live, k.Used = &e, e.Live(now), earlier(held.Used(), now)
	k.policy = held
	if e.Fetched != held.Entry.Fetched || e.Failures != held.Entry.Failures {
		k.policy = newCachedPolicy(e, now)
	}
	if at, ok := refreshAt(cfg, e, k.Used); ok && k.Live {
		k.NextRefresh = at
	}
	if k.Live && k.InMemory {
		k.NextCheck = held.nextCheck(now)
	}
	return k
}

// newer reports whether a was written after b.
func newer(a, b *Entry) bool {
	return cmp.Or(a.Fetched.Compare(b.Fetched), a.Checked.Compare(b.Checked)) > 0
}

// at is the entry as it counts at now: what a clock that ran ahead wrote counts as written now.
func (e Entry) at(now time.Time) Entry {
	e.Fetched, e.Checked, e.Used = earlier(e.Fetched, now), earlier(e.Checked, now), earlier(e.Used, now)
	e.Failures = e.Failures.at(now)
	return e
}

// nextCheck is when the TXT record is to be looked at again, as claimCheck sees it; zero: now.
func (h *CachedPolicy) nextCheck(now time.Time) time.Time {
	at := time.Unix(h.checkAt.Load(), 0).UTC()
	if left := at.Sub(now); left <= 0 || left > maxCheck+time.Second {
		return time.Time{}
	}
	return at
}

// snapshot is what waits for the disk.
func (s *pendingWrites) snapshot() map[dnsname.Name]*CachedPolicy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.waiting)
}
