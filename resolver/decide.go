package resolver

import (
	"errors"
	"time"

	"github.com/stsmapd/stsmapd/resolver/lookups"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Finding is what was found of a domain's MTA-STS policy: *Policy, NoPolicy, *LookupFailed, *FetchFailed, *HostFailed,
// Overridden, Busy or Closed.
type Finding interface{ stsFinding() }

// Busy: this host lacks resources (fault.Exhausted), or a lookup took too long for Postfix to wait. The mail must wait.
type Busy struct{ Err error }

// Closed: the service was closed before anything was found.
type Closed struct{}

func (*CachedPolicy) stsFinding() {}
func (NoPolicy) stsFinding()      {}
func (*LookupFailed) stsFinding() {}
func (*FetchFailed) stsFinding()  {}
func (*HostFailed) stsFinding()   {}
func (Overridden) stsFinding()    {}
func (Busy) stsFinding()          {}
func (Closed) stsFinding()        {}

// Decide turns what was found into the one answer. It is total: every pair of findings has a verdict.
//
// MTA-STS decides unless its policy is enforced and the asking Postfix does DANE. Then DANE goes before, where the
// domain has it (RFC 8461 section 2), and the mail waits where DANE could not be looked up. No outcome lets a host be
// used without authentication (RFC 8461 section 5): a host without usable TLSA records is not used beside one that has
// them.
func Decide(now time.Time, q Question, d dane.Finding, s Finding) Verdict {
	v := decideSTS(now, q, s)
	if v.Outcome != Enforce || !q.DANE {
		return v
	}
	switch d.Status {
	case dane.Usable:
		v.Outcome = DANEOnly
	case dane.Failed:
		v.Outcome, v.Reason = DANEUnknown, d.Err
		if errors.Is(d.Err, lookups.ErrClosed) {
			return Verdict{Outcome: Closing}
		}
	}
	return v
}

func decideSTS(now time.Time, q Question, s Finding) Verdict {
	switch s := s.(type) {
	case *CachedPolicy:
		if !s.Entry.Live(now) {
			return Verdict{Outcome: Absent}
		}
		return Verdict{Outcome: binding(s.Entry.Policy.Mode, q), Policy: s}
	case *LookupFailed:
		return Verdict{Outcome: Unknown, Reason: s.Err}
	case *FetchFailed:
		return Verdict{Outcome: Unfetched, Reason: s.Err}
	case *HostFailed:
		return Verdict{Outcome: Unable, Reason: s.Err}
	case Overridden:
		if s.By.Action == ActionEnforce {
			return Verdict{Outcome: Enforce, Policy: s.By.policy, Override: s.By}
		}
		return Verdict{Outcome: Ignored, Override: s.By}
	case Busy:
		return Verdict{Outcome: Overloaded, Reason: s.Err}
	case Closed:
		return Verdict{Outcome: Closing}
	default:
		return Verdict{Outcome: Absent}
	}
}

// binding is the outcome of a live policy in that mode.
func binding(m mtasts.Mode, q Question) Outcome {
	switch {
	case m == mtasts.ModeEnforce, m == mtasts.ModeTesting && q.Strict:
		return Enforce
	case m == mtasts.ModeTesting:
		return Testing
	default:
		return None
	}
}
