package resolver

import (
	"time"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// Negative is why no policy is known of a domain: NoPolicy, *LookupFailed, *FetchFailed or *HostFailed. It is a
// Finding, and lives in memory alone: all its times are of clock.Monotonic.
type Negative interface {
	Finding
	// Fresh reports whether it may be answered at now without another lookup.
	Fresh(now time.Time) bool
	// Expires is when it stops being worth keeping; until then it also remembers how often something failed.
	Expires() time.Time
}

// NoPolicy: the DNS says that the domain has no MTA-STS policy (RFC 8461 section 3.1). Deliver as usual.
type NoPolicy struct {
	until int64 // clock.Ticks; small, since there are a million of these
}

// Bounds on how long a negative answer of the DNS is remembered.
const (
	minNegative = time.Minute
	maxNegative = time.Hour
)

func noPolicy(now time.Time, ttl time.Duration) NoPolicy {
	return NoPolicyUntil(clock.Ticks(now.Add(min(max(ttl, minNegative), maxNegative))))
}

// NoPolicyUntil is the NoPolicy with that Until: for a Memory that keeps no more of it than this.
func NoPolicyUntil(ticks int64) NoPolicy { return NoPolicy{until: ticks} }

// Until is Expires as clock.Ticks.
func (a NoPolicy) Until() int64 { return a.until }

// Fresh implements Negative.
func (a NoPolicy) Fresh(now time.Time) bool { return clock.Ticks(now) < a.until }

// Expires implements Negative.
func (a NoPolicy) Expires() time.Time { return clock.OfTicks(a.until) }

// LookupFailed: the DNS gave no answer and no policy is remembered. Whether there is one is unknown.
type LookupFailed struct {
	Failures int // in a row
	At       time.Time
	RetryAt  time.Time
	Err      error

	outages outages // the failure is forgotten when one of them ends
}

func lookupFailed(now time.Time, before Negative, err error) *LookupFailed {
	failures := 1
	if b, ok := before.(*LookupFailed); ok && now.Before(b.Expires()) {
		failures += b.Failures
	}
	wait := fault.Backoff(failures, lookupBackoffMin, lookupBackoffMax)
	return &LookupFailed{Failures: failures, At: now, RetryAt: now.Add(wait), Err: err}
}

// Fresh implements Negative.
func (a *LookupFailed) Fresh(now time.Time) bool {
	return !a.outages.over() && now.Before(a.RetryAt)
}

// Expires implements Negative.
func (a *LookupFailed) Expires() time.Time {
	if a.outages.over() {
		return a.At
	}
	return a.RetryAt.Add(lookupBackoffMax)
}

// FetchFailed: the TXT record announces a policy, but it could not be fetched or is invalid, and none is remembered.
// Deliver as usual (RFC 8461 section 3.3).
type FetchFailed struct {
	Failures FetchFailures
	At       time.Time // of the last look at the TXT record
	CheckAt  time.Time // next look at the TXT record: a new id is tried at once
	Err      error

	outages outages // the failure is forgotten when one of them ends
}

// Fresh implements Negative.
func (a *FetchFailed) Fresh(now time.Time) bool { return !a.outages.over() && now.Before(a.CheckAt) }

// Expires implements Negative.
func (a *FetchFailed) Expires() time.Time {
	if a.outages.over() {
		return a.At
	}
	return a.Failures.RetryAt.Add(fetchBackoffMax)
}

// brief is a negative that is remembered for a minute only: the store, which may know better, could not be read.
func brief(now time.Time, a Negative) Negative {
	soon := now.Add(minNegative)
	switch a := a.(type) {
	case *LookupFailed:
		b := *a
		b.RetryAt = earlier(b.RetryAt, soon)
		return &b
	case *FetchFailed:
		b := *a
		b.CheckAt = earlier(b.CheckAt, soon)
		return &b
	case *HostFailed: // it holds for less
		return a
	default:
		return noPolicy(now, minNegative)
	}
}

// Bounds of the time between two looks at a TXT record that is in use.
const (
	minCheck = 5 * time.Second
	maxCheck = 5 * time.Minute
	// recheckFailed is when the id of a live policy is looked at again after a lookup that failed.
	recheckFailed = time.Minute
)

// checkAfter is how long a look at the TXT record holds: its TTL, between 5 seconds and 5 minutes.
func checkAfter(ttl time.Duration) time.Duration { return min(max(ttl, minCheck), maxCheck) }
