package dane

import (
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	minTTL   = time.Minute // a finding serves so long without a new lookup, at least
	maxTTL   = time.Hour   // and at most
	grace    = time.Hour   // after that, it serves while lookups fail: a resolver's restart stops no mail
	minRetry = 10 * time.Second
	maxRetry = time.Minute
)

// Memory remembers the entries of a bounded number of destinations. It may drop any of them. It is safe for concurrent
// use; a cache.Bounded is one.
type Memory interface {
	// Get returns what Update set last, and whether there is anything.
	Get(Destination) (Entry, bool)
	// Update calls f with the entry of a destination, if there is one, and sets the entry that f returns, or removes it
	// where keep is false. Nothing else changes the entry meanwhile.
	Update(to Destination, f func(old Entry, ok bool) (e Entry, keep bool))
}

// Entry is what is remembered of one destination. The zero Entry is nothing. Its times carry monotonic readings: it
// lives in memory alone, and a wall clock that is set does not change its age.
type Entry struct {
	status Status // Unasked: nothing has been found yet; never Failed
	found  time.Time
	ttl    time.Duration // from minTTL to maxTTL

	failures int       // of lookups since found
	tried    time.Time // the last of them
	err      error     // its reason
	alerted  time.Time // when it was last logged that the mail is deferred; zero: never

	claimed time.Time // when a renewal began
}

// action is what is to be done about a destination.
type action uint8

const (
	rest    action = iota // nothing: the finding is the one to use
	renew                 // use the finding, and look it up in the background
	lookNow               // there is no finding: look it up now
)

// read returns what is known of the destination, and what to do about it.
func (e Entry) read(now time.Time) (Finding, action) {
	resting := e.failures > 0 && now.Sub(e.tried) < fault.Backoff(e.failures, minRetry, maxRetry)
	switch {
	case e.serves(now):
		if resting || now.Sub(e.found) < e.ttl {
			return Finding{Status: e.status}, rest
		}
		return Finding{Status: e.status}, renew
	case resting:
		return failed(e.err), rest
	default:
		return Finding{}, lookNow
	}
}

// serves reports whether the finding may be used, fresh or not.
func (e Entry) serves(now time.Time) bool {
	return e.status != Unasked && now.Sub(e.found) < e.ttl+grace
}

// next is the entry after a lookup that came to status and err, as judge returns them, from records of that TTL. A
// failure leaves what was found.
func (e Entry) next(now time.Time, status Status, err error, ttl time.Duration) Entry {
	if status == Failed {
		e.failures++
		e.tried, e.err = now, err
		return e
	}
	return Entry{status: status, found: now, ttl: min(max(ttl, minTTL), maxTTL)}
}
