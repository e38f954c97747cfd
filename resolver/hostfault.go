package resolver

import (
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// hostRetry is the least time between two looks at a domain that failed by a fault of this host which waiting does
// not mend.
const hostRetry = 10 * time.Second

// HostFailed: this host lacks what it needs to look for the domain's policy (fault.Host), and none is remembered.
// Nothing was learnt of the domain: what was remembered of it before stays, and the next question after RetryAt
// looks again. Deliver as usual (RFC 8461 section 3.3).
type HostFailed struct {
	At, RetryAt time.Time
	Err         error
	Before      Negative // what was remembered before; never a *HostFailed; nil: nothing
}

func (*HostFailed) stsFinding() {}

// Fresh implements Negative.
func (a *HostFailed) Fresh(now time.Time) bool { return !now.Before(a.At) && now.Before(a.RetryAt) }

// Expires implements Negative.
func (a *HostFailed) Expires() time.Time {
	if a.Before != nil && a.Before.Expires().After(a.RetryAt) {
		return a.Before.Expires()
	}
	return a.RetryAt
}

// withoutHostFailure is what is remembered of the domain itself: nil for nothing.
func withoutHostFailure(a Negative) Negative {
	if h, ok := a.(*HostFailed); ok {
		return h.Before
	}
	return a
}

func hostFailed(now time.Time, before Negative, err error) *HostFailed {
	return &HostFailed{At: now, RetryAt: now.Add(hostRetry), Err: fault.WithCure(err),
		Before: withoutHostFailure(before)}
}

// ownFault is what remains to be said of a domain when work for it failed by a fault of this host: what is held
// still binds, and otherwise the mail waits or passes. nil: err is the domain's word.
func (s *Service) ownFault(domain dnsname.Name, known *CachedPolicy, before Negative, work hostWork,
	err error) Finding {
	kind := fault.Of(err)
	if kind == fault.Domain {
		return nil
	}
	now := s.now()
	s.hostFaults.failed(now, work, err)
	switch {
	case known != nil:
		known.checkFrom(now.Add(hostRetry))
		return known
	case kind == fault.Exhausted:
		return Busy{fault.WithCure(err)}
	}
	a := hostFailed(now, before, err)
	s.memory.PutNegative(now, domain, a)
	return a
}

// discovered notes how a look at the TXT record went for this host. Its finding is that of a look which failed by a
// fault of this host, with nothing held; a held policy is planned for as after any failed lookup. nil: plan has to
// say what is next.
func (s *Service) discovered(domain dnsname.Name, known *CachedPolicy, before Negative, d discovery) Finding {
	failed, ok := d.(undiscovered)
	switch {
	case !ok:
		s.hostFaults.worked(lookupWork)
	case fault.Of(failed.err) == fault.Domain:
	case known == nil:
		return s.ownFault(domain, nil, before, lookupWork, failed.err)
	default:
		s.hostFaults.failed(s.now(), lookupWork, failed.err)
	}
	return nil
}
