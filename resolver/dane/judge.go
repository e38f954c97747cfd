package dane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/lookups"
)

const (
	lookupLimit   = 9 * time.Second  // for all lookups of one destination, the wait for a slot included
	questionLimit = 10 * time.Second // for a question, whatever happens
	maxLookups    = 256              // destinations that are looked up at the same time
	maxRenewals   = 64               // of them, renewals that no question waits for
	alertInterval = 24 * time.Hour   // between two log lines about one destination that cannot be judged
)

// DNS is what the judge asks of a DNS client; *dnsclient.Client is one. Names are without the final dot. A lookup ends
// promptly when its context does.
type DNS interface {
	A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error)
	AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error)
	MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error)
	TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error)
}

// Options is what a Judge is made of.
type Options struct {
	DNS    func() DNS // the client that is in force; called at each lookup
	Memory Memory
	Logger *slog.Logger

	HostFault  func(error)           // is told of errors of this host (fault.Of); nil: nobody is
	Registerer prometheus.Registerer // takes the metrics; nil: nobody reads them
}

// Judge finds out, and remembers, what the TLSA records of the MX hosts of destinations say. It is safe for concurrent
// use.
type Judge struct {
	Options
	lookups  *lookups.Group[Destination, Finding] // it alone writes the entry of a destination
	slots    *semaphore.Weighted                  // maxLookups
	renewals *semaphore.Weighted                  // maxRenewals
	waited   prometheus.Observer                  // of questions that memory could not answer
	results  [statusCount]prometheus.Counter      // of lookups, but for those that failed by a fault of this host
}

// New makes a judge. Close must be called at the end.
func New(o Options) *Judge {
	j := &Judge{Options: o, slots: semaphore.NewWeighted(maxLookups), renewals: semaphore.NewWeighted(maxRenewals)}
	if j.HostFault == nil {
		j.HostFault = func(error) {}
	}
	j.waited = WaitHistogram(o.Registerer, "dane")
	results := promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{Namespace: "stsmapd",
		Name: "dane_lookups_total", Help: "Looks at the TLSA records of a domain's MX hosts by result."},
		[]string{"result"})
	for s := None; s < statusCount; s++ {
		j.results[s] = results.WithLabelValues(s.String())
	}
	j.lookups = lookups.New(j.lookUp, func(to Destination, p *lookups.PanicError) { j.logPanic(to.String(), p) })
	return j
}

// WaitHistogram registers the time that questions wait which memory cannot answer, for a policy or for DANE on top: a
// local resolver takes a millisecond, Postfix gives up at 100 s.
func WaitHistogram(r prometheus.Registerer, waitsFor string) prometheus.Observer {
	return promauto.With(r).NewHistogram(prometheus.HistogramOpts{Namespace: "stsmapd", Name: "answer_wait_seconds",
		Help:        "Time that Postfix waited where memory had no answer: for a policy, and for DANE on top.",
		ConstLabels: prometheus.Labels{"for": waitsFor},
		Buckets:     []float64{0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 85}})
}

// Close ends all lookups and waits for them. A question that waits, and one that comes later and finds nothing
// remembered, gets Failed with lookups.ErrClosed.
func (j *Judge) Close() { j.lookups.Close() }

// Find returns what the TLSA records of the destination's MX hosts say: from memory if it can, else after a lookup,
// which takes 10 s at most. The Status is never Unasked.
func (j *Judge) Find(ctx context.Context, to Destination) Finding {
	e, _ := j.Memory.Get(to)
	f, next := e.read(time.Now())
	switch next {
	case lookNow:
		return j.wait(ctx, to)
	case renew:
		j.renew(to)
	}
	return f
}

// Remembered returns what Find would return out of memory, and whether there is anything. It starts no lookup.
func (j *Judge) Remembered(to Destination) (f Finding, ok bool) {
	e, _ := j.Memory.Get(to)
	f, next := e.read(time.Now())
	return f, next != lookNow
}

// wait looks the destination up together with all who ask for it.
func (j *Judge) wait(ctx context.Context, to Destination) Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, questionLimit,
		fmt.Errorf("the lookups for %s take longer than %v", to, questionLimit))
	defer cancel()
	defer func(begin time.Time) { j.waited.Observe(time.Since(begin).Seconds()) }(time.Now())
	r, err := j.lookups.Ask(ctx, to, lookups.Question)
	var panicked *lookups.PanicError
	switch {
	case errors.As(err, &panicked):
		return failed(errInternal)
	case err != nil:
		return failed(err)
	}
	return r.Value
}

// errInternal is the reason that Postfix is told after a panic.
var errInternal = errors.New("internal fault, see stsmapd's log")

// renew looks the destination up in the background, unless that runs already or too many other renewals do: then a
// later question starts it.
func (j *Judge) renew(to Destination) {
	if !j.renewals.TryAcquire(1) {
		return
	}
	if !j.claimRenewal(to) {
		j.renewals.Release(1)
		return
	}
	lookup := j.lookups.Start(to, lookups.Question)
	go func() {
		defer j.renewals.Release(1)
		<-lookup.Done()
	}()
}

// claimRenewal reports whether the caller may renew the destination's finding: no other caller began to within the time
// that it takes.
func (j *Judge) claimRenewal(to Destination) (mine bool) {
	now := time.Now()
	j.Memory.Update(to, func(e Entry, known bool) (Entry, bool) {
		if mine = known && now.Sub(e.claimed) >= lookupLimit; mine {
			e.claimed = now
		}
		return e, known
	})
	return mine
}

// lookUp is the lookup of one destination; nothing else writes what it found.
func (j *Judge) lookUp(closing context.Context, to Destination, _ lookups.Reason) Finding {
	ctx, cancel := context.WithTimeoutCause(closing, lookupLimit, errTooSlow)
	defer cancel()
	if err := j.slots.Acquire(ctx, 1); err != nil {
		if closing.Err() != nil {
			return failed(lookups.ErrClosed)
		}
		return failed(fmt.Errorf("the DANE lookups of %d domains are in progress already", maxLookups))
	}
	defer j.slots.Release(1)
	before, _ := j.Memory.Get(to)
	if f, next := before.read(time.Now()); next == rest {
		return f // another lookup has just ended
	}
	facts := gather(ctx, j.DNS(), to, j.panicked)
	if closing.Err() != nil {
		return failed(lookups.ErrClosed) // the facts may be worse than the truth
	}
	status, err := judge(facts)
	if status == Failed && fault.Of(err) != fault.Domain {
		return j.ownFault(to, before, err)
	}
	j.results[status].Inc()
	now := time.Now()
	after := before.next(now, status, err, facts.ttl)
	f, _ := after.read(now)
	j.report(now, to, f, before, &after)
	j.remember(to, after)
	return f
}

func (j *Judge) remember(to Destination, e Entry) {
	j.Memory.Update(to, func(Entry, bool) (Entry, bool) { return e, true })
}

// ownFault is the finding after a lookup that failed by a fault of this host: the one of before while it serves, else a
// failure, which does not count as one of the domain.
func (j *Judge) ownFault(to Destination, before Entry, err error) Finding {
	now := time.Now()
	j.HostFault(err)
	if fault.Of(err) == fault.Host { // waiting does not mend it: rest a little
		after := before
		after.failures, after.tried, after.err = max(before.failures, 1), now, fault.WithCure(err)
		j.remember(to, after)
	}
	if before.serves(now) {
		return Finding{Status: before.status}
	}
	return failed(fault.WithCure(err))
}

// panicked logs a panic in the lookup of one MX host and returns the error that stands for it.
func (j *Judge) panicked(host string, p *lookups.PanicError) error {
	j.logPanic(host, p)
	return errInternal
}

func (j *Judge) logPanic(name string, p *lookups.PanicError) {
	j.Logger.Error("a DANE lookup failed by a fault in stsmapd; the mail is deferred; please report it", "event",
		"panic",
		"name", name, "panic", p.Value, "stack", p.Stack)
}

// report logs what an administrator wants to know of: the mail to a destination begins to be deferred, or is no longer,
// or its DANE has changed. It notes in after that it did.
func (j *Judge) report(now time.Time, to Destination, f Finding, before Entry, after *Entry) {
	switch {
	case f.Status == Failed && now.Sub(after.alerted) >= alertInterval:
		after.alerted = now
		j.Logger.Warn("DANE cannot be judged: the domain's mail is deferred until its MX hosts' TLSA records can be "+
			"looked up; check that the DNS resolver works, and whether the domain's DNS or DNSSEC is broken",
			"event", "dane_failing", "domain", to, "error", after.err)
	case after.failures > 0:
		j.Logger.Debug("DANE lookup failed", "event", "dane_lookup_failed", "domain", to, "failures", after.failures,
			"serving", f.Status, "error", after.err)
	case !before.alerted.IsZero():
		j.Logger.Info("DANE can be judged again: the domain's mail is no longer deferred for it",
			"event", "dane_recovered", "domain", to, "dane", f.Status)
	case before.status != Unasked && before.status != f.Status:
		j.Logger.Info("DANE of the domain changed", "event", "dane_changed", "domain", to, "dane", f.Status,
			"before", before.status)
	}
}
