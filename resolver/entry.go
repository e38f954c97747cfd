package resolver

import (
	"hash/fnv"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/pace"
)

// Entry is all that is remembered of a domain's policy, in memory and in stores. All times are UTC wall clock without a
// monotonic reading, at least of second precision; a zero time means never.
type Entry struct {
	Domain dnsname.Name
	ID     string        // of the TXT record that the policy was last fetched under; "" when there never was one
	Policy mtasts.Policy // always valid
	// last successful fetch of the policy file: expiry counts from here and from nothing else (RFC 8461 section 3.2)
	Fetched time.Time
	// last time that this knowledge was written or the id was compared: never later than the writer's clock; zero:
	// Doubtful
	Checked  time.Time
	Used     time.Time     // last question, as far as it was worth a write
	UsedDays uint16        // on how many days it was asked for, about: questions anotherDay apart
	Failures FetchFailures // zero while fetches succeed
	Origin   string        // name of the host whose fetch this is, when another host of the fleet made it; "": this one
	Network  fair.Network  // of the policy host at that fetch
}

// Count describes fetches that keep failing since the last one that succeeded.
type FetchFailures struct {
	Count   int       // in a row; 0: none
	ID      string    // of the TXT record that the last failed fetch was for; "" when there was none
	Since   time.Time // first failure
	RetryAt time.Time // not before this for the same id
	Alerted time.Time // last log line about it
	Reason  string    // of the last failure, for people
}

// Expires is when the policy ends: the last successful fetch + max_age (RFC 8461 section 3.2).
func (e Entry) Expires() time.Time { return e.term().end() }

// Live reports whether the policy still binds at now. The very second of the fetch counts, so that a policy with
// max_age 0 binds the deliveries that waited for it.
func (e Entry) Live(now time.Time) bool { return e.term().covers(now) }

func (e Entry) term() term { return term{e.Fetched, e.Policy.MaxAge} }

// term is the time for which a policy binds.
type term struct {
	fetched time.Time
	maxAge  time.Duration
}

func (t term) end() time.Time { return t.fetched.Add(t.maxAge) }

func (t term) covers(now time.Time) bool { return !now.After(t.end()) }

// owners are to whom the policy's room is accounted.
func (e Entry) owners() fair.Owners { return fair.Of(e.Domain, e.Network) }

// size is about how many bytes the store needs for the entry.
func (e Entry) size() int64 {
	const fixed = 100 // times, lengths, a header, bbolt's own
	return int64(fixed + len(e.Domain.String()) + len(e.ID) + len(e.Policy.Text) + len(e.Origin) +
		len(e.Failures.ID) + len(e.Failures.Reason))
}

// Doubtful reports whether the entry was saved from a damaged store where it may not have been the last one of its
// domain. It is answered only after a look at the network, or if nothing can be looked up.
func (e Entry) Doubtful() bool { return e.Checked.IsZero() }

// normalizeClock is the entry as it counts at now: what a clock that ran ahead wrote counts as written now, so that it
// makes no policy live longer than its max_age from here, nor does a backoff of that clock hold.
func (e Entry) normalizeClock(now time.Time) Entry {
	e.Fetched, e.Checked, e.Used = earlier(e.Fetched, now), earlier(e.Checked, now), earlier(e.Used, now)
	e.Failures = e.Failures.at(now)
	return e
}

// Limits of the proactive refresh.
const (
	// minRefreshAge keeps a tiny max_age from becoming a loop of fetches: such a policy is fetched when asked for.
	minRefreshAge = 5 * time.Minute
	// refreshSpread is how far, as a part of the age, a domain's refresh is moved: -1/10 to +1/10.
	refreshSpread = 10
)

// NextCheck is when the policy should be fetched again whatever its id: when its age passes min(interval, max_age/2),
// moved by up to 10 % either way, always the same way for one domain; later while fetches fail (FetchFailures.RetryAt).
// It may lie after Expires: then the policy is too short-lived to be refreshed ahead of questions.
func (e Entry) NextCheck(interval time.Duration) time.Time {
	age := max(min(interval, e.Policy.MaxAge/2), minRefreshAge)
	due := e.Fetched.Add(age + spread(e.Domain, age))
	if e.Failures.RetryAt.After(due) {
		return e.Failures.RetryAt
	}
	return due
}

// spread draws a domain's own part of ±age/10. It must survive restarts, so it comes from the name, not from chance.
func spread(domain dnsname.Name, age time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(domain.String()))
	const steps = 1 << 16
	part := time.Duration(h.Sum64() % (2*steps + 1)) // 0 to 2*steps
	return age / refreshSpread * (part - steps) / steps
}

// holdsBack reports whether the id was tried, failed, and is not due again at now.
func (t FetchFailures) holdsBack(id string, now time.Time) bool {
	return t.Count > 0 && t.ID == id && now.Before(t.at(now).RetryAt)
}

// at returns the failures as they count at now. Times that lie ahead of now, and for RetryAt further than any backoff,
// were written by a clock that ran ahead: they count as now, or no fetch would be tried until that time comes once
// more.
func (t FetchFailures) at(now time.Time) FetchFailures {
	if t.RetryAt.Sub(now) > fetchBackoffMax {
		t.RetryAt = now
	}
	t.Since, t.Alerted = earlier(t.Since, now), earlier(t.Alerted, now)
	return t
}

// Backoff after failures (DESIGN: 5 minutes for the same id, doubling to 1 hour; RFC 8461 section 3.3 asks for 5
// minutes).
const (
	fetchBackoffMin  = pace.Window
	fetchBackoffMax  = pace.MaxBackoff
	lookupBackoffMin = time.Minute
	lookupBackoffMax = 15 * time.Minute
)

// after is what one more failed fetch at now makes of t. The id has failed so many times in a row, 1 or more; of other
// ids' failures between them only the caller knows.
func (t FetchFailures) after(now time.Time, id string, tries int, reason string) FetchFailures {
	next := FetchFailures{Count: t.Count + 1, ID: id, Since: t.Since, Alerted: t.Alerted, Reason: reason}
	if t.Count == 0 {
		next.Since = now
	}
	if id == t.ID { // the backoff is per id
		tries = max(tries, next.Count)
	}
	next.RetryAt = now.Add(fault.Backoff(tries, fetchBackoffMin, fetchBackoffMax))
	return next
}
