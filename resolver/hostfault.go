package resolver

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// hostRetry is the least time between two looks at a domain that failed by a fault of this host which waiting does
// not mend.
const hostRetry = 10 * time.Second

// HostFailed: this host lacks what it needs to look for the domain's policy (fault.Host), and none is remembered.
// Nothing was learnt of the domain: what was remembered of it before stays, and the next question after RetryAt
// looks again. Deliver as usual (RFC 8461 section 3.3).
type HostFailed struct {
	At, RetryAt time.Time
	Err         error
	Before      Negative // what was remembered before; never a *HostFailed; nil: nothing
}

// Fresh implements Negative.
func (a *HostFailed) Fresh(now time.Time) bool { return !now.Before(a.At) && now.Before(a.RetryAt) }

// Expires implements Negative.
func (a *HostFailed) Expires() time.Time {
	if a.Before != nil && a.Before.Expires().After(a.RetryAt) {
		return a.Before.Expires()
	}
	return a.RetryAt
}

// withoutHostFailure is what is remembered of the domain itself: nil for nothing.
func withoutHostFailure(a Negative) Negative {
	if h, ok := a.(*HostFailed); ok {
		return h.Before
	}
	return a
}

func hostFailed(now time.Time, before Negative, err error) *HostFailed {
	return &HostFailed{At: now, RetryAt: now.Add(hostRetry), Err: fault.WithCure(err),
		Before: withoutHostFailure(before)}
}

// ownFault is the result of a lookup that failed by a fault of this host: what is known still binds, and otherwise the
// mail waits or passes. False: err is the domain's word, or nil.
func (u *updater) ownFault(a *attempt, work hostWork, err error) (result, bool) {
	kind := fault.Of(err)
	if kind == fault.Domain {
		return result{}, false
	}
	now := u.now()
	u.hostFaults.failed(now, work, err)
	r := result{untried: fault.WithCure(err)}
	switch {
	case a.known != nil:
		a.known.checkFrom(now.Add(hostRetry))
		r.finding = a.known
	case kind == fault.Exhausted:
		r.finding = Busy{r.untried}
	default:
		failed := hostFailed(now, a.before, err)
		u.memory.PutNegative(now, a.domain, failed)
		r.finding = failed
	}
	return r, true
}

// discoveryFailed notes how a look at the TXT record went for this host, and returns the result of one that failed by a
// fault of this host with nothing known. A known policy is planned for as after any failed lookup.
func (u *updater) discoveryFailed(a *attempt, d discovery) (result, bool) {
	failed, ok := d.(undiscovered)
	switch {
	case !ok:
		u.hostFaults.worked(lookupWork)
	case fault.Of(failed.err) == fault.Domain:
	case a.known == nil:
		return u.ownFault(a, lookupWork, failed.err)
	default:
		u.hostFaults.failed(u.now(), lookupWork, failed.err)
	}
	return result{}, false
}

// hostAlertInterval is the least time between two log lines about this host's faults of one kind at one work.
const hostAlertInterval = 10 * time.Minute

// hostWork is what a fault of this host keeps from being done.
type hostWork uint8

const (
	lookupWork hostWork = iota // DNS lookups
	fetchWork                  // policy fetches
	hostWorks
)

// String returns the work in words for people.
func (w hostWork) String() string {
	return [...]string{"look up domains in the DNS", "fetch policies"}[w]
}

// HostFault is a fault of this host that keeps it from looking for policies.
type HostFault struct {
	Kind  fault.Kind // Host or Exhausted
	Work  string     // what cannot be done: "fetch policies"
	Since time.Time  // the first failure
	Last  time.Time  // the last one
	Count uint64     // of failures
	Err   error      // of the last one; it begins with what to mend

	logged bool
}

// String says what is wrong, what it means for mail, and what to mend, in one clause for people.
func (h HostFault) String() string {
	return fmt.Sprintf("this host cannot %s since %s (%d failures): %s; the last error: %v",
		h.Work, h.Since.Format(time.RFC3339), h.Count, h.consequence(), h.Err)
}

// consequence is what the fault means for mail.
func (h HostFault) consequence() string {
	if h.Kind == fault.Exhausted {
		return "mail to domains without a live policy waits"
	}
	return "mail to domains without a live policy is delivered as if they had none"
}

// hostFaults remembers the faults of this host until the same work succeeds again, and logs them. It is safe for
// concurrent use.
type hostFaults struct {
	log *slog.Logger

	any     atomic.Bool // one of current is set
	mu      sync.Mutex
	current [hostWorks]*HostFault // nil: none
	alerted [hostWorks][fault.Exhausted + 1]time.Time
	counts  [fault.Exhausted + 1]prometheus.Counter
}

// failed notes an error that fault.Of lays on this host.
func (f *hostFaults) failed(now time.Time, work hostWork, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := fault.Of(err)
	f.counts[kind].Inc()
	was := f.current[work]
	if was == nil || was.Kind != kind {
		was = &HostFault{Kind: kind, Work: work.String(), Since: now}
		f.current[work] = was
		f.any.Store(true)
	}
	was.Last, was.Err = now, fault.WithCure(err)
	was.Count++
	if last := f.alerted[work][kind]; !last.IsZero() && !now.Before(last) && now.Sub(last) < hostAlertInterval {
		return
	}
	f.alerted[work][kind], was.logged = now, true
	event := "host_fault"
	if kind == fault.Exhausted {
		event = "host_exhausted"
	}
	f.log.Error("this host cannot "+was.Work+": "+was.consequence()+"; repair this host", "event", event,
		"failing_since", was.Since, "failures", was.Count, "error", was.Err)
}

// worked notes that the work succeeded: what it needs is there. It is cheap where nothing had failed.
func (f *hostFaults) worked(work hostWork) {
	if !f.any.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.current[work]
	if was == nil {
		return
	}
	f.current[work] = nil
	f.any.Store(f.current != [hostWorks]*HostFault{})
	if was.logged {
		f.log.Info("this host can "+was.Work+" again", "event", "host_recovered",
			"failing_since", was.Since, "failures", was.Count)
	}
}

// list returns the faults that no success has followed.
func (f *hostFaults) list() (all []HostFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.current {
		if h != nil {
			all = append(all, *h)
		}
	}
	return all
}
