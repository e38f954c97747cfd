package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// hostRetry is the least time between two looks at a domain that failed by a fault of this host which waiting does
// not mend.
const hostRetry = 10 * time.Second

// HostFailed: this host lacks what it needs to look for the domain's policy (fault.Host), and none is remembered.
// Nothing was learnt of the domain: what was remembered of it before stays, and the next question after RetryAt
// looks again. Deliver as usual (RFC 8461 section 3.3).
type HostFailed struct {
	RetryAt time.Time
	Err     error
	Before  Negative // what was remembered before; never a *HostFailed; nil: nothing

	outage *outage
}

// Fresh implements Negative.
func (a *HostFailed) Fresh(now time.Time) bool {
	return !a.outage.over() && now.Before(a.RetryAt)
}

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

func hostFailed(now time.Time, before Negative, err error, during *outage) *HostFailed {
	return &HostFailed{RetryAt: now.Add(hostRetry), Err: fault.WithCure(err),
		Before: withoutHostFailure(before), outage: during}
}

// ownFault notes work that failed by a fault of this host, and returns its result. False: err is the domain's word, or
// nil.
func (u *updater) ownFault(a *attempt, work hostWork, err error) (result, bool) {
	if fault.Of(err) == fault.Domain {
		return result{}, false
	}
	u.hostFaults.failed(clock.Monotonic(), work, err)
	return u.unable(a, work, err), true
}

// unable is the result where a fault of this host keeps the work from being done: what is known still binds, and
// otherwise the mail waits or passes.
func (u *updater) unable(a *attempt, work hostWork, err error) result {
	now := clock.Monotonic()
	r := result{untried: fault.WithCure(err)}
	switch {
	case a.known != nil:
		a.known.checkFrom(now.Add(hostRetry))
		r.finding = a.known
	case fault.Of(err) == fault.Exhausted:
		r.finding = Busy{r.untried}
	default:
		failed := hostFailed(now, a.before, err, a.outages[work])
		u.memory.PutNegative(now, a.domain, failed)
		r.finding = failed
	}
	return r
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

// OfDNS reports whether DNS lookups are what cannot be done.
func (h HostFault) OfDNS() bool { return h.Work == lookupWork.String() }

// String says what is wrong, what it means for mail, and what to mend, in one clause for people.
func (h HostFault) String() string {
	failures := "1 failure"
	if h.Count != 1 {
		failures = fmt.Sprintf("%d failures", h.Count)
	}
	return fmt.Sprintf("this host cannot %s since %s (%s): %s; the last error: %v",
		h.Work, h.Since.Format(time.RFC3339), failures, h.consequence(), h.Err)
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
	outages [hostWorks]*outage    // in which the work fails, or would fail; never nil
	alerted [hostWorks][fault.Exhausted + 1]time.Time
	counts  [fault.Exhausted + 1]prometheus.Counter
	suspect chan struct{} // gets a value, if it has none, when a lookup failed, by whose fault ever
}

// outage is a time in which work of this host fails. What is remembered of a failure refers to it, so that the failure
// is forgotten when the outage ends. A nil outage never ends.
type outage struct{ ended atomic.Bool }

func (o *outage) over() bool { return o != nil && o.ended.Load() }

// outages are all to which a failure belongs: that of the work, and the settings in force, which count as one until a
// reload changes what lookups and fetches go by.
type outages struct{ work, settings *outage }

func (o outages) over() bool { return o.work.over() || o.settings.over() }

func newHostFaults(log *slog.Logger, counts [fault.Exhausted + 1]prometheus.Counter) *hostFaults {
	f := &hostFaults{log: log, counts: counts, suspect: make(chan struct{}, 1)}
	for work := range f.outages {
		f.outages[work] = new(outage)
	}
	return f
}

// during returns the outages to which failures from now on belong.
func (f *hostFaults) during() [hostWorks]*outage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outages
}

// failing reports whether the work failed the last time, by a fault of this host.
func (f *hostFaults) failing(work hostWork) bool {
	if !f.any.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current[work] != nil
}

// lookupFailed notes that a lookup failed, by whose fault ever.
func (f *hostFaults) lookupFailed() {
	select {
	case f.suspect <- struct{}{}:
	default:
	}
}

// failed notes an error that fault.Of lays on this host.
func (f *hostFaults) failed(now time.Time, work hostWork, err error) {
	if work == lookupWork {
		f.lookupFailed()
	}
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
	if last := f.alerted[work][kind]; !last.IsZero() && now.Sub(last) < hostAlertInterval {
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

// worked notes that the work succeeded: what it needs is there. What failed in the outage is forgotten. It is cheap
// where nothing had failed.
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
	f.outages[work].ended.Store(true)
	f.outages[work] = new(outage)
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

const (
	// deadAfter is how many domains in a row have a failed lookup before the DNS is called dead.
	deadAfter = 3
	// dnsProbeInterval is the time between two looks at a DNS that is dead or under suspicion.
	dnsProbeInterval = 5 * time.Second
)

// dnsWatch finds out whether the DNS is dead: no server answers, or lookups fail for every domain. Each of them looks
// like a failure of its domain, whose mail is then delivered without protection. A dead DNS is a fault of this host. It
// ends with the first lookup that works. dnsWatch is safe for concurrent use.
type dnsWatch struct {
	*base

	failing atomic.Bool // domains is not empty
	mu      sync.Mutex
	domains []dnsname.Name // with a failed lookup since the last one that worked; at most deadAfter, all different
	next    int            // index of the domain that tells when lookups work again
}

// looked notes what a look at a domain's TXT record says of the DNS and of this host.
func (w *dnsWatch) looked(domain dnsname.Name, d discovery) {
	failed, ok := d.(undiscovered)
	switch {
	case !ok:
		w.worked()
	case fault.Of(failed.err) == fault.Domain:
		w.failed(clock.Monotonic(), domain, failed.err)
	default:
		w.hostFaults.failed(clock.Monotonic(), lookupWork, failed.err)
	}
}

// failed notes a lookup that failed by what looks like a fault of the domain.
func (w *dnsWatch) failed(now time.Time, domain dnsname.Name, err error) {
	var own *dnsclient.Error
	if errors.As(err, &own) && (own.Kind == dnsclient.CNAMELoop || own.Kind == dnsclient.Cancelled) {
		return
	}
	w.hostFaults.lookupFailed()
	if w.add(domain) || w.hostFaults.failing(lookupWork) {
		w.dead(now, err)
	}
}

// add notes a domain. It returns true if so many have failed that the DNS is dead.
func (w *dnsWatch) add(domain dnsname.Name) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.domains) < deadAfter && !slices.Contains(w.domains, domain) {
		w.domains = append(w.domains, domain)
		w.failing.Store(true)
	}
	return len(w.domains) == deadAfter
}

func (w *dnsWatch) dead(now time.Time, err error) {
	if fault.Of(err) == fault.Domain {
		err = &fault.Error{Kind: fault.Host, Err: err,
			Cure: "the DNS does not work here: check the DNS servers (dns.servers, or /etc/resolv.conf)"}
	}
	w.hostFaults.failed(now, lookupWork, err)
}

// worked notes a lookup that worked. It is cheap where none had failed.
func (w *dnsWatch) worked() {
	w.hostFaults.worked(lookupWork)
	if !w.failing.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing.Store(false)
	w.domains = nil
}

// run probes the DNS at the start, and every dnsProbeInterval while it is dead or lookups fail, until ctx ends.
func (w *dnsWatch) run(ctx context.Context) {
	w.probe(ctx, false)
	for {
		pause(ctx, dnsProbeInterval)
		select {
		case <-w.hostFaults.suspect:
		case <-ctx.Done():
			return
		}
		w.probe(ctx, true)
		if w.hostFaults.failing(lookupWork) {
			w.hostFaults.lookupFailed() // until one works
		}
	}
}

// probe asks the servers for the root. Some forwarders have no answer for it but a failure, which counts only where it
// is doubtful that lookups work. Where they answer, but lookups have failed for every domain, the answer may be from a
// cache: then one of these domains is looked up.
func (w *dnsWatch) probe(ctx context.Context, doubtful bool) {
	cfg := w.config.Load()
	if cfg.ProbeDNS == nil {
		return
	}
	err := cfg.ProbeDNS(ctx)
	var own *dnsclient.Error
	switch {
	case ctx.Err() != nil, !doubtful && errors.As(err, &own) && own.Kind == dnsclient.ServerFailure:
		return
	case err != nil:
		w.dead(clock.Monotonic(), err)
		return
	}
	domain, ok := w.tell()
	switch {
	case !ok:
		w.hostFaults.worked(lookupWork)
	case worked(discover(ctx, cfg.DNS, domain)):
		w.worked()
	}
}

// tell returns the next domain to look up where so many have failed that the DNS is dead.
func (w *dnsWatch) tell() (dnsname.Name, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.domains) < deadAfter {
		return dnsname.Name{}, false
	}
	w.next++
	return w.domains[w.next%deadAfter], true
}
