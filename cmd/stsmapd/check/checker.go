package check

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/tlsrpt"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

const (
	defaultTimeout = 6 * time.Minute // more than one reply of an MX host may take
	maxSessions    = 64              // SMTP sessions at a time, of all domains
	maxHosts       = 20              // MX hosts of one domain that are probed
	smtpPort       = 25
)

// Options are the settings of a Checker.
type Options struct {
	DNS       resolver.DNS
	ADTrusted bool         // the AD bit of DNS's servers is trusted; if not, DANE is never found
	Fetch     fetch.Config // as in the daemon; its Roots are used for MX hosts too
	Overrides *resolver.Overrides
	Helo      string        // this host's name for EHLO
	Timeout   time.Duration // for one domain; 0: 6 minutes
	Step      time.Duration // for each reply of an MX host; 0: 5 minutes, as Postfix waits
	NoSMTP    bool          // do not connect to MX hosts
	// Dial connects to policy hosts and MX hosts; nil: TCP.
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	Now  func() time.Time // nil: the wall clock
	// CachedPolicy returns the policy that a running daemon has of a domain: the id of the TXT record at its fetch, and
	// the text; false: it has none. nil: there is no daemon, and AdviceSameID is never given.
	CachedPolicy func(context.Context, dnsname.Name) (id, text string, ok bool)
}

// Checker checks domains. It is safe for concurrent use.
type Checker struct {
	opts     Options
	sessions *semaphore.Weighted
}

// New returns a Checker.
func New(o Options) *Checker {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Step <= 0 {
		o.Step = stepLimit
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Fetch.Roots == nil {
		o.Fetch.Roots = x509.NewCertPool() // with nil, crypto/x509 would use the system's
	}
	return &Checker{opts: o, sessions: semaphore.NewWeighted(maxSessions)}
}

// Watcher follows the progress of a check. Its methods are called one at a time, in the order of the steps.
type Watcher interface {
	// Doing says in a few words what the check waits for.
	Doing(what string)
	// Done says that the part of the report for step is complete. Later parts are not set yet.
	Done(step Step, r *Report)
}

// Step is a part of a check.
type Step uint8

// The steps in their order. There is one StepHost for each MX host.
const (
	StepRecord Step = iota + 1
	StepPolicy
	StepMX
	StepHost // the last of Report.MX.Hosts
	StepDANE
	StepTLSRPT
	StepAnswers
	StepAdvice
	StepResult
)

// Check checks one domain. It returns within Options.Timeout, or soon after ctx ends; the report then says what was not
// seen in time. w may be nil. After ctx has ended w is not called any more: what follows would say nothing about the
// domain.
func (c *Checker) Check(ctx context.Context, to dane.Destination, w Watcher) *Report {
	watch := notifier{ctx, w}
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout,
		fmt.Errorf("not finished within %v, the limit of --timeout", c.opts.Timeout))
	look := c.start(ctx, to)
	defer func() {
		cancel()
		look.running.Wait()
		look.dns.close()
	}()
	return c.report(look, watch)
}

// notifier calls a Watcher, which may be nil, until the context of the caller ends.
type notifier struct {
	ctx context.Context
	to  Watcher
}

func (w notifier) doing(what string) {
	if w.to != nil && w.ctx.Err() == nil {
		w.to.Doing(what)
	}
}

func (w notifier) done(s Step, r *Report) {
	if w.to != nil && w.ctx.Err() == nil {
		w.to.Done(s, r)
	}
}

// checkRun is a check in progress. All parts that do not depend on each other run concurrently.
type checkRun struct {
	to      dane.Destination
	at      time.Time
	dns     *dnsCache
	running sync.WaitGroup

	record *future[lookupResult[string]]
	policy *future[*fetchResult] // value nil: no record announces a policy
	mx     *future[mxLookup]
	dane   *future[dane.Inspection]
	tlsrpt *future[lookupResult[string]]
}

// fetchResult is what was seen of the policy host.
type fetchResult struct {
	addresses  []netip.Addr
	inspection fetch.Inspection
	sameID     bool // the daemon has another file of the same id
}

// mxLookup is the result of the MX lookup, with the probes of the hosts in progress.
type mxLookup struct {
	status  MXStatus
	err     error
	records []dnsclient.MX
	omitted int
	probes  []*future[probe]
}

// future is the result of a function that runs in another goroutine.
type future[T any] struct {
	done  chan struct{}
	value T
}

func goFuture[T any](running *sync.WaitGroup, find func() T) *future[T] {
	f := &future[T]{done: make(chan struct{})}
	running.Go(func() {
		defer close(f.done)
		f.value = find()
	})
	return f
}

// wait waits for the value. All work of a check ends when its context ends.
func (f *future[T]) wait() T {
	<-f.done
	return f.value
}

// tellEvery is how often a wait that takes long is told of.
const tellEvery = 5 * time.Second

// waitTelling is wait, and calls tell with the time that it has waited, every tellEvery.
func (f *future[T]) waitTelling(tell func(time.Duration)) T {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for waited := tellEvery; ; waited += tellEvery {
		select {
		case <-f.done:
			return f.value
		case <-tick.C:
			tell(waited)
		}
	}
}

func (c *Checker) start(ctx context.Context, to dane.Destination) *checkRun {
	l := &checkRun{to: to, at: c.opts.Now().UTC().Truncate(time.Second), dns: newDNSCache(ctx, c.opts.DNS)}
	l.record = goFuture(&l.running, func() lookupResult[string] { return l.text(ctx, resolver.TXTName(to.Domain)) })
	l.tlsrpt = goFuture(&l.running, func() lookupResult[string] { return l.text(ctx, tlsrptName(to.Domain)) })
	l.policy = goFuture(&l.running, func() *fetchResult { return c.fetchPolicy(ctx, l) })
	l.mx = goFuture(&l.running, func() mxLookup { return c.lookUpMX(ctx, l) })
	l.dane = goFuture(&l.running, func() dane.Inspection { return dane.Inspect(ctx, l.dns, to) })
	return l
}

func (l *checkRun) text(ctx context.Context, name string) lookupResult[string] {
	a, err := l.dns.TXT(ctx, name)
	return lookupResult[string]{a, err}
}

func tlsrptName(domain dnsname.Name) string { return "_smtp._tls." + domain.String() }

// fetchPolicy fetches the policy as the daemon does. It returns nil if no record announces one.
func (c *Checker) fetchPolicy(ctx context.Context, l *checkRun) *fetchResult {
	found := l.record.wait()
	record, err := mtasts.ParseRecord(found.answer.Records)
	if found.err != nil || err != nil {
		return nil
	}
	fetcher := fetch.New(l.dns, c.opts.Fetch)
	if c.opts.Dial != nil {
		fetcher.ConnectBy(c.opts.Dial)
	}
	f := &fetchResult{inspection: fetcher.Inspect(ctx, l.to.Domain)}
	// the error of the fetch says why there are none
	f.addresses, _ = l.dns.addresses(ctx, fetch.PolicyHost(l.to.Domain))
	if c.opts.CachedPolicy != nil && f.inspection.Err == nil {
		id, text, ok := c.opts.CachedPolicy(ctx, l.to.Domain)
		f.sameID = ok && id == record.ID && text != f.inspection.Policy.Text
	}
	return f
}

// lookUpMX looks up the MX records and starts a probe of each host.
func (c *Checker) lookUpMX(ctx context.Context, l *checkRun) mxLookup {
	x := c.mxRecords(ctx, l)
	if more := len(x.records) - maxHosts; more > 0 {
		x.records, x.omitted = x.records[:maxHosts], more
	}
	p := prober{
		client: client{helo: c.opts.Helo, step: c.opts.Step}, dial: c.opts.Dial, sessions: c.sessions, port: l.to.Port,
		noSMTP: c.opts.NoSMTP,
	}
	if p.dial == nil {
		p.dial = dialTCP
	}
	if p.port == 0 {
		p.port = smtpPort
	}
	for _, r := range x.records {
		x.probes = append(x.probes, goFuture(&l.running, func() probe { return p.probe(ctx, l.dns, r.Host) }))
	}
	return x
}

// mxRecords returns the MX records, or the domain itself if it is its own MX host; none if no mail can be delivered.
func (c *Checker) mxRecords(ctx context.Context, l *checkRun) mxLookup {
	itself := []dnsclient.MX{{Host: l.to.Domain.String()}}
	if l.to.Direct {
		return mxLookup{status: MXDirect, records: itself}
	}
	a, err := l.dns.MX(ctx, l.to.Domain.String())
	switch {
	case err != nil:
		return mxLookup{status: MXNoAnswer, err: err}
	case a.Denial == dnsclient.NXDomain:
		return mxLookup{status: MXNoDomain}
	case a.Denial == dnsclient.NoData:
		return mxLookup{status: MXImplicit, records: itself}
	}
	x := mxLookup{status: MXFound}
	for _, r := range a.Records {
		if r.Host != "" { // Postfix ignores a null MX beside other records
			x.records = append(x.records, r)
		}
	}
	if len(x.records) == 0 {
		x.status = MXNull
	}
	return x
}

// report waits for each part in the order of the steps, judges it, and notifies the watcher.
func (c *Checker) report(l *checkRun, w notifier) *Report {
	r := &Report{Domain: l.to.Domain.String(), NextHop: l.to.String(), At: l.at}
	done := func(s Step) { w.done(s, r) }

	w.doing("looking up " + resolver.TXTName(l.to.Domain))
	record := l.record.wait()
	r.Record = judgeRecord(resolver.TXTName(l.to.Domain), record)
	done(StepRecord)

	w.doing("fetching " + fetch.PolicyURL(l.to.Domain))
	file := l.policy.wait()
	r.Policy = judgePolicy(l.at, l.to.Domain, file)
	d := decide(l, c.opts.Overrides, record, file)
	r.Override = describeOverride(d.override)
	done(StepPolicy)

	hosts := c.reportMX(l, w, r, d.policy)

	w.doing("looking up TLSA records")
	inspected := l.dane.wait()
	r.DANE = judgeDANE(l, inspected, hosts, c.opts.ADTrusted)
	setHostDANE(r)
	done(StepDANE)

	w.doing("looking up " + tlsrptName(l.to.Domain))
	r.TLSRPT = judgeTLSRPT(tlsrptName(l.to.Domain), l.tlsrpt.wait())
	done(StepTLSRPT)

	r.Answers = d.answers(inspected.Finding())
	done(StepAnswers)
	r.Advice = advise(l.at, r, file != nil && file.sameID)
	done(StepAdvice)
	r.Result = conclude(r, d, inspected.Finding())
	done(StepResult)
	return r
}

// seenHost is an MX host with its certificates, for DANE.
type seenHost struct {
	name  string
	chain []*x509.Certificate
}

// reportMX does the part of report about the MX hosts. It returns the hosts that sent certificates.
func (c *Checker) reportMX(l *checkRun, w notifier, r *Report, policy *mtasts.Policy) []seenHost {
	w.doing("looking up the MX records")
	x := l.mx.wait()
	r.MX = MX{Status: x.status, Hosts: []Host{}, Omitted: x.omitted}
	if x.err != nil {
		r.MX.Error = x.err.Error()
	}
	w.done(StepMX, r)
	j := hostJudge{now: l.at, roots: c.opts.Fetch.Roots, policy: policy}
	var hosts []seenHost
	for i, m := range x.records {
		w.doing("talking to " + term.Clean(m.Host))
		p := x.probes[i].waitTelling(func(waited time.Duration) {
			w.doing(fmt.Sprintf("talking to %s for %v; Postfix waits up to %v for each reply", term.Clean(m.Host),
				waited,
				stepLimit))
		})
		r.MX.Hosts = append(r.MX.Hosts, j.judge(m, p))
		if h := (seenHost{name: m.Host}); p.tls != nil {
			h.chain = p.tls.PeerCertificates
			hosts = append(hosts, h)
		}
		w.done(StepHost, r)
	}
	return hosts
}

// judgeTLSRPT turns the TXT records of name into the report's part about TLSRPT.
func judgeTLSRPT(name string, found lookupResult[string]) TLSRPT {
	t := TLSRPT{Name: name, Status: Found}
	record, err := tlsrpt.ParseRecord(found.answer.Records)
	switch {
	case found.err != nil:
		t.Status, err = NoAnswer, found.err
	case errors.Is(err, tlsrpt.ErrNoRecord):
		t.Status = NoRecord
	case errors.Is(err, tlsrpt.ErrMultipleRecords):
		t.Status = Several
	case err != nil:
		t.Status = Malformed
	}
	if err != nil {
		t.Error = err.Error()
		return t
	}
	t.Record = record
	return t
}
