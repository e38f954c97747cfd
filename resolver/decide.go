package resolver

import (
	"errors"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/lookups"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Question is what Postfix wants to know, and what of its own powers bears on the answer.
type Question struct {
	dane.Destination
	Strict bool // apply a policy in mode testing as if its mode were enforce
	DANE   bool // the asking Postfix does DANE: MTA-STS must not override it (RFC 8461 section 2)
}

// Outcome is what a question came to. The reply to Postfix, the log line, the metric and `stsmapd check` read it.
type Outcome uint8

// The outcomes. "Deliver as usual" without a policy is RFC 8461 section 3.3.
const (
	Enforce     Outcome = iota + 1 // a live policy binds: Verdict.Policy
	Testing                        // a live policy in mode testing: deliver as usual (RFC 8461 section 5)
	None                           // a live policy in mode none: deliver as usual (RFC 8461 section 5)
	Absent                         // the domain has no policy
	Unknown                        // the DNS did not say whether there is a policy, and none is remembered
	Unfetched                      // the announced policy cannot be fetched, none is remembered: deliver as usual
	Ignored                        // an override says to deliver as usual: Verdict.Override
	Overloaded                     // no lookup ended in time: the mail must wait
	Closing                        // stsmapd is shutting down and does not know: give no answer at all
	DANEOnly                       // an MX host has usable TLSA records: the mail must be secured by DANE, or wait
	DANEUnknown                    // whether there are TLSA records is not known: the mail must wait
	Unable                         // this host lacks what a lookup needs, no policy is remembered: deliver as usual
	outcomeCount
)

// String returns a stable word for logs and metrics.
func (o Outcome) String() string {
	if o == 0 || o >= outcomeCount {
		return "invalid"
	}
	return [...]string{"", "enforce", "testing", "none", "no_policy", "lookup_failed", "fetch_failed", "ignored",
		"overloaded", "closing", "dane_only", "dane_unknown", "host_fault"}[o]
}

// Verdict is the one answer to a Question.
type Verdict struct {
	Outcome  Outcome
	Policy   *CachedPolicy // the policy, live or an override's; nil when there is none
	Override *Override     // that took the place of what the domain publishes; nil when none did
	Reason   error         // why nothing better is known; nil for outcomes that need none
}

// Finding is what was found of a domain's MTA-STS policy: *CachedPolicy, NoPolicy, *LookupFailed, *FetchFailed,
// *HostFailed, Busy or Closed.
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
func (Busy) stsFinding()          {}
func (Closed) stsFinding()        {}

// Decide turns what is known into the one answer. It is total: there is a verdict whatever is found.
//
// An override, nil for none, goes before what the domain publishes. Then MTA-STS decides, unless its policy is enforced
// and the asking Postfix does DANE. Then DANE goes before, where the domain has it (RFC 8461 section 2), and the mail
// waits where DANE could not be looked up. No outcome lets a host be used without authentication (RFC 8461 section 5):
// a host without usable TLSA records is not used beside one that has them.
//
// dane is called only where its finding matters. nil stands for a finding of dane.Unasked.
func Decide(now time.Time, q Question, override *Override, f Finding, dane func() dane.Finding) Verdict {
	v := decideOverride(now, q, override, f)
	if v.Outcome != Enforce || !q.DANE || dane == nil {
		return v
	}
	return withDANE(v, dane())
}

// withDANE is the verdict where MTA-STS would enforce a policy and this was found of DANE.
func withDANE(v Verdict, f dane.Finding) Verdict {
	switch f.Status {
	case dane.Usable:
		v.Outcome = DANEOnly
	case dane.Failed:
		if errors.Is(f.Err, lookups.ErrClosed) {
			return Verdict{Outcome: Closing}
		}
		v.Outcome, v.Reason = DANEUnknown, f.Err
	}
	return v
}

func decideOverride(now time.Time, q Question, o *Override, f Finding) Verdict {
	switch {
	case o == nil:
		return decideFinding(now, q.Strict, f)
	case o.Action == ActionEnforce:
		return Verdict{Outcome: Enforce, Policy: o.policy, Override: o}
	case o.Action == ActionStrict:
		return decideFinding(now, true, f)
	default:
		return Verdict{Outcome: Ignored, Override: o}
	}
}

func decideFinding(now time.Time, strict bool, f Finding) Verdict {
	switch f := f.(type) {
	case *CachedPolicy:
		if !f.term().covers(now) {
			return Verdict{Outcome: Absent}
		}
		return Verdict{Outcome: binding(f.mode, strict), Policy: f}
	case *LookupFailed:
		return Verdict{Outcome: Unknown, Reason: f.Err}
	case *FetchFailed:
		return Verdict{Outcome: Unfetched, Reason: f.Err}
	case *HostFailed:
		return Verdict{Outcome: Unable, Reason: f.Err}
	case Busy:
		return Verdict{Outcome: Overloaded, Reason: f.Err}
	case Closed:
		return Verdict{Outcome: Closing}
	default:
		return Verdict{Outcome: Absent}
	}
}

// binding is the outcome of a live policy in that mode.
func binding(m mtasts.Mode, strict bool) Outcome {
	switch {
	case m == mtasts.ModeEnforce, m == mtasts.ModeTesting && strict:
		return Enforce
	case m == mtasts.ModeTesting:
		return Testing
	default:
		return None
	}
}
