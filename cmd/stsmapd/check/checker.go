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

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/tlsrpt"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

const (
	defaultTimeout = time.Minute
	maxSessions    = 16 // SMTP sessions at a time, of all domains
	maxHosts       = 20 // MX hosts looked at of one domain
	smtpPort       = 25
)

// Options is what a Checker works with.
type Options struct {
	DNS       resolver.DNS
	ADTrusted bool         // the AD bit of a server that DNS asks is believed; without, DANE is never found
	Fetch     fetch.Config // as the daemon's; its Roots judge the certificates of MX hosts too
	Overrides *resolver.Overrides
	Helo      string        // this host's name for EHLO
	Timeout   time.Duration // of the check of one domain; 0: 1 minute
	Step      time.Duration // for each answer of an MX host; 0: 10 s
	NoSMTP    bool          // do not connect to MX hosts
	// Dial connects to policy hosts and MX hosts; nil: TCP.
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	Now  func() time.Time // nil: the wall clock
	// Remembered tells what a running daemon holds of a domain: the id of the TXT record that its policy was fetched
	// under, and the file; false: nothing. nil: there is nobody to ask, and AdviceSameID is never given.
	Remembered func(context.Context, dnsname.Name) (id, text string, ok bool)
}

// Checker checks domains. It is safe for concurrent use.
type Checker struct {
	opts     Options
	sessions *semaphore.Weighted
}

// New makes a Checker.
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
		o.Fetch.Roots = x509.NewCertPool() // crypto/x509 takes nil for the system's
	}
	return &Checker{opts: o, sessions: semaphore.NewWeighted(maxSessions)}
}

// Watcher follows a check. Its methods are called one at a time, in the order of the steps.
type Watcher interface {
	// Doing says what is waited for, in a few words.
	Doing(what string)
	// Done says that a part of the report is complete: print it now, the rest of it is not there yet.
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

// Check looks at one domain and reports. It ends within Options.Timeout, or soon after ctx does; what was not seen by
// then is reported so. w may be nil; after ctx has ended it is told no more, for what it would be told says nothing of
// the domain.
func (c *Checker) Check(ctx context.Context, to dane.Destination, w Watcher) *Report {
	watch := watching{ctx, w}
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout, fmt.Errorf("not finished within %v", c.opts.Timeout))
	look := c.look(ctx, to)
	defer func() {
		cancel()
		look.running.Wait()
		look.dns.close()
	}()
	return c.report(look, watch)
}

// watching is a Watcher that need not be there, as long as the caller's context has not ended.
type watching struct {
	ctx context.Context
	to  Watcher
}

func (w watching) doing(what string) {
	if w.to != nil && w.ctx.Err() == nil {
		w.to.Doing(what)
	}
}

func (w watching) done(s Step, r *Report) {
	if w.to != nil && w.ctx.Err() == nil {
		w.to.Done(s, r)
	}
}

// looking is a check under way: all that can be looked at at once is.
type looking struct {
	to      dane.Destination
	at      time.Time
	dns     *memo
	running sync.WaitGroup

	record *future[looked[string]]
	policy *future[*fetched] // nil: no record announces one
	mx     *future[exchangers]
	dane   *future[dane.Inspection]
	tlsrpt *future[looked[string]]
}

// fetched is the policy host as it was seen.
type fetched struct {
	addresses  []netip.Addr
	inspection fetch.Inspection
	same       bool // a daemon remembers another file under the same id
}

// exchangers are the MX records, and looks at their hosts under way.
type exchangers struct {
	status  MXStatus
	err     error
	records []dnsclient.MX
	leftOut int
	probes  []*future[probe]
}

// future is a value that is being found out.
type future[T any] struct {
	done  chan struct{}
	value T
}

func begin[T any](running *sync.WaitGroup, find func() T) *future[T] {
	f := &future[T]{done: make(chan struct{})}
	running.Go(func() {
		defer close(f.done)
		f.value = find()
	})
	return f
}

// wait returns the value: all that is done for one ends when the check's context does.
func (f *future[T]) wait() T {
	<-f.done
	return f.value
}

func (c *Checker) look(ctx context.Context, to dane.Destination) *looking {
	l := &looking{to: to, at: c.opts.Now().UTC().Truncate(time.Second), dns: newMemo(ctx, c.opts.DNS)}
	l.record = begin(&l.running, func() looked[string] { return l.text(ctx, resolver.TXTName(to.Domain)) })
	l.tlsrpt = begin(&l.running, func() looked[string] { return l.text(ctx, tlsrptName(to.Domain)) })
	l.policy = begin(&l.running, func() *fetched { return c.fetch(ctx, l) })
	l.mx = begin(&l.running, func() exchangers { return c.exchangers(ctx, l) })
	l.dane = begin(&l.running, func() dane.Inspection { return dane.Inspect(ctx, l.dns, to) })
	return l
}

func (l *looking) text(ctx context.Context, name string) looked[string] {
	a, err := l.dns.TXT(ctx, name)
	return looked[string]{a, err}
}

func tlsrptName(domain dnsname.Name) string { return "_smtp._tls." + domain.String() }

// fetch gets the policy where a record announces one, as the daemon does.
func (c *Checker) fetch(ctx context.Context, l *looking) *fetched {
	found := l.record.wait()
	record, err := mtasts.ParseRecord(found.answer.Records)
	if found.err != nil || err != nil {
		return nil
	}
	fetcher := fetch.New(l.dns, c.opts.Fetch)
	if c.opts.Dial != nil {
		fetcher.ConnectBy(c.opts.Dial)
	}
	f := &fetched{inspection: fetcher.Inspect(ctx, l.to.Domain)}
	f.addresses, _ = l.dns.addresses(ctx, fetch.PolicyHost(l.to.Domain)) // the fetch tells why there are none
	if c.opts.Remembered != nil && f.inspection.Err == nil {
		id, text, ok := c.opts.Remembered(ctx, l.to.Domain)
		f.same = ok && id == record.ID && text != f.inspection.Policy.Text
	}
	return f
}

// exchangers looks up where mail goes and begins to look at the hosts.
func (c *Checker) exchangers(ctx context.Context, l *looking) exchangers {
	x := c.records(ctx, l)
	if more := len(x.records) - maxHosts; more > 0 {
		x.records, x.leftOut = x.records[:maxHosts], more
	}
	p := prober{
		client: client{helo: c.opts.Helo, step: c.opts.Step}, dial: c.opts.Dial, sessions: c.sessions, port: l.to.Port,
		off: c.opts.NoSMTP,
	}
	if p.dial == nil {
		p.dial = dialTCP
	}
	if p.port == 0 {
		p.port = smtpPort
	}
	for _, r := range x.records {
		x.probes = append(x.probes, begin(&l.running, func() probe { return p.probe(ctx, l.dns, r.Host) }))
	}
	return x
}

// records are the MX records, or what stands for them; none where no mail can be delivered.
func (c *Checker) records(ctx context.Context, l *looking) exchangers {
	itself := []dnsclient.MX{{Host: l.to.Domain.String()}}
	if l.to.Direct {
		return exchangers{status: MXDirect, records: itself}
	}
	a, err := l.dns.MX(ctx, l.to.Domain.String())
	switch {
	case err != nil:
		return exchangers{status: MXNoAnswer, err: err}
	case a.Denial == dnsclient.NXDomain:
		return exchangers{status: MXNoDomain}
	case a.Denial == dnsclient.NoData:
		return exchangers{status: MXImplicit, records: itself}
	}
	x := exchangers{status: MXFound}
	for _, r := range a.Records {
		if r.Host != "" { // a null MX beside others is a mistake that Postfix passes over
			x.records = append(x.records, r)
		}
	}
	if len(x.records) == 0 {
		x.status = MXNull
	}
	return x
}

// report waits for each part in its order, has it judged, and tells the watcher.
func (c *Checker) report(l *looking, w watching) *Report {
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
	placeDANE(r)
	done(StepDANE)

	w.doing("looking up " + tlsrptName(l.to.Domain))
	r.TLSRPT = judgeTLSRPT(tlsrptName(l.to.Domain), l.tlsrpt.wait())
	done(StepTLSRPT)

	r.Answers = d.answers(inspected.Finding())
	done(StepAnswers)
	r.Advice = advise(l.at, r, file != nil && file.same)
	done(StepAdvice)
	r.Result = conclude(r, d, inspected.Finding())
	done(StepResult)
	return r
}

// seenHost is an MX host's certificates and name, for DANE.
type seenHost struct {
	name  string
	chain []*x509.Certificate
}

// reportMX is the part of report about the MX hosts.
func (c *Checker) reportMX(l *looking, w watching, r *Report, policy *mtasts.Policy) []seenHost {
	w.doing("looking up the MX records")
	x := l.mx.wait()
	r.MX = MX{Status: x.status, Hosts: []Host{}, LeftOut: x.leftOut}
	if x.err != nil {
		r.MX.Error = x.err.Error()
	}
	w.done(StepMX, r)
	j := hostJudge{now: l.at, roots: c.opts.Fetch.Roots, policy: policy}
	var hosts []seenHost
	for i, m := range x.records {
		w.doing("talking to " + clean(m.Host))
		p := x.probes[i].wait()
		r.MX.Hosts = append(r.MX.Hosts, j.judge(m, p))
		if h := (seenHost{name: m.Host}); p.tls != nil {
			h.chain = p.tls.PeerCertificates
			hosts = append(hosts, h)
		}
		w.done(StepHost, r)
	}
	return hosts
}

// judgeTLSRPT is what the record of the name came to.
func judgeTLSRPT(name string, found looked[string]) TLSRPT {
	t := TLSRPT{Name: name, Status: Found}
	record, err := tlsrpt.ParseRecord(found.answer.Records)
	switch {
	case found.err != nil:
		t.Status, err = NoAnswer, found.err
	case errors.Is(err, tlsrpt.ErrNoRecord):
		t.Status = NotThere
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
