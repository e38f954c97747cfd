package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// DANE (RFC 7672) binds a mail host to its certificate by TLSA records at _25._tcp.<host>, which DNSSEC proves. A
// domain can have it beside MTA-STS; then MTA-STS must not let a delivery pass that DANE would stop (RFC 8461 section
// 2), and as Postfix applies one level to a whole next hop, which of the two it is has to be known before. A daneJudge
// finds out:
//
//   - dane_judge.go says what the records mean, without I/O;
//   - dane_lookup.go asks the DNS, all MX hosts of a domain at once;
//   - dane_memory.go says how long a finding serves, and what becomes of it when a lookup fails;
//   - this file brings them together: one lookup for a domain at a time, few enough in all, and never too long.

const (
	daneLookupLimit   = 9 * time.Second  // for all lookups of one domain, the wait for a turn included
	daneQuestionLimit = 10 * time.Second // for a question, whatever happens
	maxDANELookups    = 256              // domains that are looked up at once
	maxDANERenewals   = 64               // of them, renewals that nobody waits for
	daneAlertInterval = 24 * time.Hour   // between two log lines about one domain that cannot be judged
)

// errDANEClosed: the judge was closed before anything was found. Nothing should be answered to Postfix at all.
var errDANEClosed = errors.New("stsmapd is closing")

// daneJudge finds out, and remembers, what the TLSA records of domains' MX hosts say. It is safe for concurrent use.
type daneJudge struct {
	dns    func() DNS
	now    func() time.Time
	log    *slog.Logger
	memory *daneMemory

	hostFailed func(error) // is told of errors of this host; nil: nobody is

	flight   singleflight.Group  // one lookup for a domain at a time: it alone writes the domain's entry
	lookups  *semaphore.Weighted // maxDANELookups
	renewals *semaphore.Weighted // maxDANERenewals

	ctx     context.Context // of all lookups; ends with close
	cancel  context.CancelFunc
	running underway // of all lookups

	waited histogram                     // of questions
	counts [DANEFailed + 1]atomic.Uint64 // lookups by status
}

// newDANEJudge makes a judge. dns gives the DNS client that is in force; it is asked for one at each lookup.
func newDANEJudge(dns func() DNS, now func() time.Time, log *slog.Logger) *daneJudge {
	ctx, cancel := context.WithCancel(context.Background())
	j := &daneJudge{
		dns: dns, now: now, log: log, memory: newDANEMemory(maxDANEEntries),
		lookups: semaphore.NewWeighted(maxDANELookups), renewals: semaphore.NewWeighted(maxDANERenewals),
		ctx: ctx, cancel: cancel,
	}
	j.waited.bounds = waitBounds()
	return j
}

// close ends all lookups and waits for them. A question that waits, and one that comes later and finds nothing
// remembered, gets DANEFailed with errDANEClosed.
func (j *daneJudge) close() {
	j.running.close()
	j.cancel()
	j.running.wait()
}

// find returns what the TLSA records of the domain's MX hosts say: from memory if it can, else after looking, which
// takes 10 s at most. The Status is never DANEUnasked.
func (j *daneJudge) find(ctx context.Context, domain Destination) DANEFinding {
	f, next := j.memory.get(domain).read(j.now())
	switch next {
	case daneLook:
		return j.wait(ctx, domain)
	case daneRenew:
		j.renew(domain)
	}
	return f
}

// wait looks the domain up together with all who ask for it.
func (j *daneJudge) wait(ctx context.Context, domain Destination) DANEFinding {
	limit := time.NewTimer(daneQuestionLimit)
	defer limit.Stop()
	defer func(begin time.Time) { j.waited.observe(time.Since(begin)) }(time.Now())
	select {
	case r := <-j.advance(domain):
		return r.Val.(DANEFinding)
	case <-limit.C:
		return daneFailed(fmt.Errorf("the lookups for %s take longer than %v", domain, daneQuestionLimit))
	case <-ctx.Done():
		return daneFailed(context.Cause(ctx))
	}
}

// renew looks the domain up in the background, unless that goes on already or too much else does: then a later question
// will see to it.
func (j *daneJudge) renew(domain Destination) {
	if !j.renewals.TryAcquire(1) {
		return
	}
	if !j.memory.claim(domain, j.now()) || !j.running.begin() {
		j.renewals.Release(1)
		return
	}
	go func() {
		defer j.running.done()
		defer j.renewals.Release(1)
		<-j.advance(domain)
	}()
}

// advance looks the domain up, once for all who call it meanwhile. The result's value is a DANEFinding.
func (j *daneJudge) advance(domain Destination) <-chan singleflight.Result {
	return j.flight.DoChan(domain.String(), func() (val any, _ error) {
		if !j.running.begin() {
			return daneFailed(errDANEClosed), nil
		}
		defer j.running.done()
		defer func() {
			if r := recover(); r != nil {
				val = daneFailed(j.panicked(domain.String(), r))
			}
		}()
		return j.step(domain), nil
	})
}

func (j *daneJudge) step(domain Destination) DANEFinding {
	ctx, cancel := context.WithTimeout(j.ctx, daneLookupLimit)
	defer cancel()
	if err := j.lookups.Acquire(ctx, 1); err != nil {
		if j.ctx.Err() != nil {
			return daneFailed(errDANEClosed)
		}
		return daneFailed(fmt.Errorf("the DANE lookups of %d domains are under way already", maxDANELookups))
	}
	defer j.lookups.Release(1)

	before := j.memory.get(domain)
	if f, next := before.read(j.now()); next == daneRest {
		return f // another lookup has just ended
	}
	facts := j.gather(ctx, domain)
	if j.ctx.Err() != nil {
		return daneFailed(errDANEClosed) // the facts may be worse than the truth
	}
	status, err := judgeDANE(facts)
	if status == DANEFailed && fault.Of(err) != fault.Domain {
		return j.ownFault(domain, before, err)
	}
	j.counts[status].Add(1)
	now := j.now()
	after := before.next(now, status, err, facts.ttl)
	f, _ := after.read(now)
	j.report(now, domain, f, before, &after)
	j.memory.put(domain, after)
	return f
}

// ownFault is the finding after a lookup that failed by a fault of this host: the one of before while it serves, or a
// failure, which counts against nobody.
func (j *daneJudge) ownFault(domain Destination, before daneEntry, err error) DANEFinding {
	now := j.now()
	if j.hostFailed != nil {
		j.hostFailed(err)
	}
	if fault.Of(err) == fault.Host { // no waiting mends it: rest a little
		after := before
		after.failures, after.tried, after.err = max(before.failures, 1), now, withCure(err)
		j.memory.put(domain, after)
	}
	if before.serves(now) {
		return DANEFinding{Status: before.status}
	}
	return daneFailed(withCure(err))
}

// panicked turns a panic into an error: one domain's records must not end the daemon.
func (j *daneJudge) panicked(name string, r any) error {
	j.log.Error("a DANE lookup failed by a fault in stsmapd; the mail is deferred; please report it", "event", "panic",
		"name", name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	return errors.New("internal fault, see stsmapd's log")
}

// report logs what an administrator wants to know of: a domain's mail begins to be deferred, or is no longer, or its
// DANE has changed. It notes in after that it did.
func (j *daneJudge) report(now time.Time, domain Destination, f DANEFinding, before daneEntry, after *daneEntry) {
	switch {
	case f.Status == DANEFailed && !within(now, after.alerted, daneAlertInterval):
		after.alerted = now
		j.log.Warn("DANE cannot be judged: the domain's mail is deferred until its MX hosts' TLSA records can be "+
			"looked up; "+
			"check that the DNS resolver works, and whether the domain's DNS or DNSSEC is broken",
			"event", "dane_failing", "domain", domain, "error", after.err)
	case after.failures > 0:
		j.log.Debug("DANE lookup failed", "event", "dane_lookup_failed", "domain", domain, "failures", after.failures,
			"serving", f.Status, "error", after.err)
	case !before.alerted.IsZero():
		j.log.Info("DANE can be judged again: the domain's mail is no longer deferred for it", "event",
			"dane_recovered",
			"domain", domain, "dane", f.Status)
	case before.status != DANEUnasked && before.status != f.Status:
		j.log.Info("DANE of the domain changed", "event", "dane_changed", "domain", domain, "dane", f.Status,
			"before", before.status)
	}
}

func daneFailed(err error) DANEFinding { return DANEFinding{Status: DANEFailed, Err: err} }

// String returns a stable word for logs and metrics.
func (s DANEStatus) String() string {
	if s > DANEFailed {
		return "invalid"
	}
	return [...]string{"unasked", "none", "usable", "failed"}[s]
}
