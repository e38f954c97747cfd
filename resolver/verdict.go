package resolver

import (
	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Question is what Postfix wants to know, and what of its own powers bears on the answer.
type Question struct {
	dane.Destination
	Strict bool // apply a policy in mode testing as if its mode were enforce
	DANE   bool // the asking Postfix does DANE: MTA-STS must not override it (RFC 8461 section 2)
}

// Outcome is what a question came to. The reply to Postfix, the log line, the metric and `stsmapd check` read it.
type Outcome uint8

// The outcomes. Whether a delivery may go on as usual, must be secured, or must wait is the reader's to say.
const (
	Enforce Outcome = iota + 1 // a live policy binds: Verdict.CachedPolicy
	Testing                    // a live policy in mode testing: deliver as usual (RFC 8461 section 5)
	None                       // a live policy in mode none: deliver as usual (RFC 8461 section 5)
	Absent                     // the domain has no policy
	Unknown                    // the DNS did not say whether there is a policy, and none is remembered
	// a policy is announced but was not to be had, and none is remembered: deliver as usual (RFC 8461 section 3.3)
	Unfetched
	Ignored     // an override says to deliver as usual: Verdict.Override
	Overloaded  // stsmapd could not look in time: the mail must wait
	Closing     // stsmapd is on its way out and does not know: give no answer at all
	DANEOnly    // an MX host has usable TLSA records: the mail must be secured by DANE, or wait
	DANEUnknown // whether there are TLSA records could not be learnt: the mail must wait
	// this host lacks what it needs to look, and no policy is remembered: deliver as usual (RFC 8461 section 3.3)
	Unable
	outcomeCount
)

// String returns a stable word for logs and metrics.
func (o Outcome) String() string {
	if o == 0 || o >= outcomeCount {
		return "invalid"
	}
	return [...]string{"", "enforce", "testing", "none", "no_policy", "lookup_failed", "fetch_failed", "ignored",
		"overloaded",
		"closing", "dane_only", "dane_unknown", "host_fault"}[o]
}

// Verdict is the one answer to a Question.
type Verdict struct {
	Outcome  Outcome
	Policy   *CachedPolicy // the policy, live or an override's; nil when there is none
	Override *Override     // that took the place of what the domain publishes; nil when none did
	Reason   error         // why nothing better is known; nil for outcomes that need none
}
