package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a fleet asks of a policy host at most. A failed fetch binds only the host that saw it, for that host's roots,
// proxy or network may be at fault. The limit keeps a large fleet from trying a policy host that is at fault itself
// again and again.
const (
	// MaxAttempts is how many hosts of a fleet may fail with one id within AttemptWindow.
	MaxAttempts = 3
	// AttemptWindow is how long a failed fetch counts, from its beginning.
	AttemptWindow = fetchBackoffMin
)

// Attempt is the fetch for which a host asks the right.
type Attempt struct {
	ID     string // of the TXT record; "" where there never was one
	Limit  int    // refused where so many attempts count already; 1 to MaxAttempts
	Beside bool   // do not wait for another host's fetch under way
}

// FailedAttempt is a fetch for the same id that failed on a host of the fleet.
type FailedAttempt struct {
	Host string
	At   time.Time // it began, by that host's clock
}

// ClaimState is what became of a Claim.
type ClaimState uint8

// The states of a Claim. The zero ClaimState is ClaimAlone.
const (
	ClaimAlone   ClaimState = iota // the fleet cannot be asked: act as if there were none
	ClaimGranted                   // fetch; share what it brings and call Release, or call Fail
	ClaimTaken                     // another host fetches: claim again in a moment, and see what that has brought
	// as many hosts as Attempt.Limit says have failed: claim again when fewer of them count
	ClaimRefused
)

// Claim is an answer to Fleet.Claim, with what the fleet knows at that moment.
type Claim struct {
	SharedState
	State  ClaimState
	Failed []FailedAttempt // those that count

	// Release and Fail end a claim that was granted; else they are nil. Only the first call counts. A claim whose host
	// has died ends by itself a few seconds later.
	Release func() // no fetch has failed
	Fail    func() // the fetch has failed: it counts as an attempt for AttemptWindow from the claim
}

// release ends a claim if it was granted.
func (c *Claim) release() {
	if c.Release != nil {
		c.Release()
	}
}

// fail ends a claim if it was granted. A nil Claim is that of a fetch for which the fleet was not asked.
func (c *Claim) fail() {
	if c != nil && c.Fail != nil {
		c.Fail()
	}
}

// attemptFor is what this host asks of the fleet for a fetch, after it has waited for other hosts for so long. A host
// that has failed with this id leaves one attempt to the hosts that have not: where the fetch works on only one of
// them, that one is kept out by the first attempts of the others, for AttemptWindow, and never by their later ones.
func attemptFor(id string, failed FetchFailures, waited time.Duration) Attempt {
	a := Attempt{ID: id, Limit: MaxAttempts, Beside: waited >= turnLimit}
	if failed.Count > 0 && failed.ID == id {
		a.Limit--
	}
	return a
}

// lastFailures is what has failed on this host since the last success.
func lastFailures(known *CachedPolicy, before Negative) FetchFailures {
	if known != nil {
		return known.Entry().Failures
	}
	if b, ok := before.(*FetchFailed); ok {
		return b.Failures
	}
	return FetchFailures{}
}

// refused is the step of a host to which the fleet has refused the fetch p. A live policy stays as it is. Where there
// is none, the failures of the other hosts are the finding until this host may try.
func refused(now instant, p fetchNow, known *CachedPolicy, before Negative, failed []FailedAttempt) step {
	t := lastFailures(known, before)
	until := now.mono.Add(freeAt(now.wall, failed, attemptFor(p.id, t, 0).Limit).Sub(now.wall))
	if known != nil {
		return note{until}
	}
	if t.Count == 0 || t.ID != p.id {
		t = FetchFailures{ID: p.id, Since: now.mono, Alerted: t.Alerted}
	}
	hosts := make([]string, len(failed))
	for i, f := range failed {
		hosts[i] = f.Host
	}
	err := fmt.Errorf("not tried here: %d hosts of the fleet have failed within %d minutes, their logs say why: %s",
		len(hosts), AttemptWindow/time.Minute, strings.Join(hosts, ", "))
	t.RetryAt, t.Reason = until, err.Error()
	return accept{&FetchFailed{Failures: t, At: now.mono, CheckAt: earlier(p.checkAt, until), Err: err}}
}

// freeAt is when fewer than limit attempts will count: within AttemptWindow, whatever the clocks of the other hosts
// say.
func freeAt(now time.Time, failed []FailedAttempt, limit int) time.Time {
	free := now.Add(minCheck)
	if len(failed) < limit {
		return free // a fetch was under way that is over by now
	}
	ends := make([]time.Time, len(failed))
	for i, f := range failed {
		ends[i] = earlier(f.At, now).Add(AttemptWindow)
	}
	slices.SortFunc(ends, time.Time.Compare)
	if end := ends[len(ends)-limit]; end.After(free) {
		free = end
	}
	return free
}

const (
	// turnPoll is the time between two looks at what another host's fetch has brought: it doubles to turnPollMax.
	turnPoll    = 20 * time.Millisecond
	turnPollMax = 500 * time.Millisecond
	// turnLimit is how long other hosts' fetches are waited for before one is made beside them, if the fleet allows it:
	// as long as a fetch takes, so that there is time left for one here.
	turnLimit = 32 * time.Second
)

// awaitTurn waits for this host's turn to fetch a domain's policy, and returns what is to be done then, with the claim
// that is held if that is a fetch. Another host may fetch meanwhile; then plan, which is asked again with what came of
// that, says something else. When the other host fails, the next one that waits fetches. A live policy needs no
// waiting: the other host tells what it fetched, and if that gets lost, the next look at the TXT record finds it.
func (u *updater) awaitTurn(ctx context.Context, a *attempt, d discovery, p fetchNow) (step, Claim) {
	begin := time.Now()
	for wait := turnPoll; ; wait = min(2*wait, turnPollMax) {
		claim := u.fleet.Claim(ctx, a.domain, attemptFor(p.id, lastFailures(a.known, a.before), time.Since(begin)))
		now := instantOf(u.clock.Now())
		a.known = u.mergeShared(ctx, a.domain, a.known, claim.SharedState)
		next := plan(now, a.due(now.wall), a.known, a.before, d)
		p, fetches := next.(fetchNow)
		switch {
		case !fetches:
		case claim.State == ClaimGranted:
			p.claim = &claim
			next = p
		case claim.State == ClaimRefused:
			next = refused(now, p, a.known, a.before, claim.Failed)
		case claim.State == ClaimTaken && a.known != nil:
			next = note{now.mono.Add(minCheck)}
		case claim.State == ClaimTaken && ctx.Err() == nil:
			pause(ctx, wait)
			continue
		}
		return next, claim
	}
}
