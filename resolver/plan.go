package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/lookups"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/pace"
)

// discovery is what a look at a domain's `_mta-sts` TXT record brought: announced, unannounced or undiscovered.
type discovery interface{ discovery() }

// announced: there is exactly one valid record.
type announced struct {
	id  string
	ttl time.Duration
	at  time.Time // of the answer, by clock.Monotonic: ttl counts from here, however long a fetch was waited for
}

// unannounced: the DNS answered, and there is no valid record (RFC 8461 section 3.1: no policy available).
type unannounced struct {
	ttl time.Duration
	at  time.Time // as announced's
	why error     // mtasts.ErrNoRecord, mtasts.ErrMultipleRecords or *mtasts.SyntaxError
}

// undiscovered: the DNS did not answer.
type undiscovered struct{ err error }

func (announced) discovery()    {}
func (unannounced) discovery()  {}
func (undiscovered) discovery() {}

// worked reports whether the DNS answered.
func worked(d discovery) bool {
	_, failed := d.(undiscovered)
	return !failed
}

// TXTName is where a domain announces its policy (RFC 8461 section 3.1).
func TXTName(domain dnsname.Name) string { return "_mta-sts." + domain.String() }

func discover(ctx context.Context, dns DNS, domain dnsname.Name) discovery {
	answer, err := dns.TXT(ctx, TXTName(domain))
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	if err != nil {
		return undiscovered{fmt.Errorf("look up the MTA-STS record of %s: %w", domain, err)}
	}
	record, err := mtasts.ParseRecord(answer.Records)
	if err != nil {
		return unannounced{ttl: answer.TTL, at: clock.Monotonic(), why: err}
	}
	return announced{id: record.ID, ttl: answer.TTL, at: clock.Monotonic()}
}

// broken reports whether somebody tried to announce a policy and failed: worth a log line.
func (u unannounced) broken() bool { return !errors.Is(u.why, mtasts.ErrNoRecord) }

// step is what a domain needs after a look at its TXT record: note, fetchNow, forget or accept.
type step interface{ step() }

// note: the known policy stands; look at the TXT record again at checkAt.
type note struct{ checkAt time.Time }

// fetchNow: get the policy file, under the id ("" where there is no TXT record).
type fetchNow struct {
	id      string
	checkAt time.Time // next look at the TXT record, whatever the fetch brings
	claim   *Claim    // held meanwhile; nil: the fleet was not asked
}

// forget: the known policy of mode none has served its purpose (RFC 8461 section 8.3); what is left is the negative.
type forget struct{ negative Negative }

// accept: nothing live is known, and nothing can be fetched.
type accept struct{ negative Negative }

func (note) step()     {}
func (fetchNow) step() {}
func (forget) step()   {}
func (accept) step()   {}

// instant is a moment by both clocks. What is stored goes by the wall clock, what lives in memory alone by
// clock.Monotonic, which nobody can set.
type instant struct{ wall, mono time.Time }

// instantOf is the moment when the wall clock shows wall: now.
func instantOf(wall time.Time) instant { return instant{wall, clock.Monotonic()} }

// plan says what to do about a domain of which known is the live policy (nil: none) or before is remembered (nil:
// nothing), now that d was found. due: the policy should be fetched whatever its id, and whatever failed before. It is
// all of a policy's life that needs no I/O.
func plan(now instant, due bool, known *CachedPolicy, before Negative, d discovery) step {
	if known != nil {
		return planLive(now, due, known.Entry(), d)
	}
	switch d := d.(type) {
	case announced:
		checkAt := d.at.Add(checkAfter(d.ttl))
		if b, ok := before.(*FetchFailed); ok && !due && !b.outages.over() && b.Failures.holdsBack(d.id, now.mono) {
			return accept{&FetchFailed{
				Failures: b.Failures, At: now.mono, CheckAt: earlier(checkAt, b.Failures.RetryAt), Err: b.Err,
				outages: b.outages}}
		}
		return fetchNow{id: d.id, checkAt: checkAt}
	case unannounced:
		return accept{noPolicy(d.at, d.ttl)}
	default:
		return accept{lookupFailed(now.mono, before, d.(undiscovered).err)}
	}
}

// planLive never ends a live policy, but for mode none: a failure of the DNS must not (RFC 8461 sections 3.1, 3.3).
func planLive(now instant, due bool, e Entry, d discovery) step {
	switch d := d.(type) {
	case announced:
		checkAt := d.at.Add(checkAfter(d.ttl))
		changed := d.id != e.ID && !e.Failures.holdsBack(d.id, now.wall)
		if changed || due {
			return fetchNow{id: d.id, checkAt: checkAt}
		}
		return note{checkAt}
	case unannounced:
		if e.Policy.Mode == mtasts.ModeNone {
			return forget{noPolicy(d.at, d.ttl)}
		}
		checkAt := d.at.Add(min(max(d.ttl, minNegative), maxCheck))
		if due {
			return fetchNow{id: e.ID, checkAt: checkAt}
		}
		return note{checkAt}
	default:
		checkAt := now.mono.Add(recheckFailed)
		if fault.Of(d.(undiscovered).err) != fault.Domain {
			checkAt = now.mono.Add(hostRetry)
		}
		if due {
			return fetchNow{id: e.ID, checkAt: checkAt}
		}
		return note{checkAt}
	}
}

// slowRetry is how long a question waits for a policy host that has just been silent for another question.
const slowRetry = 5 * time.Second

// refreshWait is how long a refresh waits for a policy host, unless little of the policy's max_age is left.
const refreshWait = 15 * time.Second

// hasTime reports whether more than a quarter of max_age is left: a refresh that fails can be tried again.
func (e Entry) hasTime(now time.Time) bool { return e.Expires().Sub(now) > e.Policy.MaxAge/4 }

var (
	errSlowRefresh = fmt.Errorf("not finished within %v, which a refresh has while more than a quarter of max_age is "+
		"left", refreshWait)
	errSlowHost = fmt.Errorf("the policy host was silent before; not waited for longer than %v", slowRetry)
	errHeldBack = errors.New("not tried: the last fetches failed, and a domain's policy host is not asked more often " +
		"than twice in 5 minutes")
)

// patience is how long a fetch may take, and the error when it took longer: less than others where a question waits for
// a policy host that has just been silent for another question, and where a refresh has time to be tried again.
func (a *attempt) patience(now instant) (total time.Duration, tooSlow error) {
	switch {
	case a.reason == lookups.Question && a.known == nil && a.cfg.pace.Slow(now.mono, a.domain):
		return slowRetry, errSlowHost
	case a.reason == lookups.Refresh && a.known != nil && a.known.Entry().hasTime(now.wall):
		return refreshWait, errSlowRefresh
	}
	return updateLimit, errTooSlow
}

// heldBack is the step in place of the fetch p, which pace lets begin at h: ids that flip have a policy host asked no
// more often than it would be without. Where all fetches have worked and no policy is live, its max_age is short, and
// only another fetch can bring one.
func heldBack(now time.Time, a *attempt, p fetchNow, h pace.Hold) step {
	if h.Until.IsZero() || a.known == nil && !h.Failing {
		return p
	}
	checkAt := earlier(p.checkAt, h.Until)
	if a.known != nil {
		return note{checkAt}
	}
	f := &FetchFailed{Failures: FetchFailures{ID: p.id, Since: now, RetryAt: h.Until, Reason: errHeldBack.Error()},
		At: now, CheckAt: checkAt, Err: errHeldBack}
	if b, ok := a.before.(*FetchFailed); ok {
		f.Failures, f.Err, f.outages = b.Failures, b.Err, b.outages
	}
	return accept{f}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
