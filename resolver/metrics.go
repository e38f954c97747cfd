package resolver

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Metrics are counts since the service was made, and how things stand now. All labels are stable words of a short list.
type Metrics struct {
	Discoveries []Count // looks at TXT records, by what came of them
	Fetches     []Count // of policies, by what came of them: "ok", or a Kind
	DANE        []Count // looks at the TLSA records of a domain's MX hosts, by Status

	Remembered Histogram // answers out of memory: one in SampleRate is measured
	Waited     Histogram // answers for which the DNS, a policy host or the store was waited for: each is measured
	WaitedDANE Histogram // the waits for the DNS about DANE that came on top: each is measured

	HostFaults []Count // looks that failed by a fault of this host, by fault.Kind

	Adopted uint64 // policies, and failures of their fetches, that other hosts of the fleet told of

	Lookups   int  // domains that are being looked up
	Fetching  int  // of them, those whose policy is being fetched
	Absences  int  // domains without a policy in memory, those that are to be looked at again included; -1: unknown
	Unsaved   int  // policies that wait for the disk
	Failing   bool // the last write to the store failed
	NoRoots   bool // there is no trusted CA: no policy can be fetched
	TrustedAD bool // the DNS servers' AD bit is believed: DANE can be judged
	// failed fetches that the TLSRPT collector took; like Dropped it begins anew with another collector
	Reported uint64
	Dropped  uint64 // and those that it did not take
}

// Count is how often something came out in one way.
type Count struct {
	Result string
	N      uint64
}

// SampleRate is of how many answers out of memory one is measured: to look at the clock takes longer than many of them.
const SampleRate = 1024

// metrics are a Service's counters. To count takes no lock and no memory.
type metrics struct {
	discoveries [discoveryResults]atomic.Uint64
	fetches     [fetch.HostFault + 1]atomic.Uint64 // 0: success
	remembered  histogram
	waited      histogram
	waitedDANE  histogram
	dane        [dane.Failed + 1]atomic.Uint64
	adopted     atomic.Uint64
}

func newMetrics() *metrics {
	m := &metrics{}
	m.remembered.bounds = memoryBounds()
	m.waited.bounds, m.waitedDANE.bounds = waitBounds(), waitBounds()
	return m
}

// discoveryResult is what a look at a TXT record came to, to count it.
type discoveryResult uint8

const (
	discoveryAnnounced discoveryResult = iota
	discoveryNone
	discoveryMultiple
	discoverySyntax
	discoveryFailed  // the others are the kinds of *dnsclient.Error
	discoveryResults = discoveryFailed + discoveryResult(dnsclient.Cancelled) + 1
)

// String returns a stable word.
func (r discoveryResult) String() string {
	if r > discoveryFailed {
		return "dns_" + [...]string{
			"", "timeout", "server_failure", "network", "malformed", "lame", "cname_loop",
			"cancelled"}[r-discoveryFailed]
	}
	return [...]string{"announced", "no_record", "multiple_records", "invalid_record", "dns_other"}[r]
}

// discovered counts a look at a TXT record.
func (m *metrics) discovered(d discovery) { m.discoveries[resultOf(d)].Add(1) }

func resultOf(d discovery) discoveryResult {
	switch d := d.(type) {
	case announced:
		return discoveryAnnounced
	case unannounced:
		switch {
		case !d.broken():
			return discoveryNone
		case errors.Is(d.why, mtasts.ErrMultipleRecords):
			return discoveryMultiple
		}
		return discoverySyntax
	case undiscovered:
		var failed *dnsclient.Error
		if errors.As(d.err, &failed) && failed.Kind <= dnsclient.Cancelled {
			return discoveryFailed + discoveryResult(failed.Kind)
		}
	}
	return discoveryFailed
}

// fetched counts a fetch.
func (m *metrics) fetched(err error) {
	var failed *fetch.Error
	switch {
	case err == nil:
		m.fetches[0].Add(1)
	case fault.Of(err) != fault.Domain:
		m.fetches[fetch.HostFault].Add(1)
	case errors.As(err, &failed) && failed.Kind <= fetch.HostFault:
		m.fetches[failed.Kind].Add(1)
	default:
		m.fetches[fetch.Unreachable].Add(1)
	}
}

// sample is the time now for the answers that are measured, and the zero time for all others.
func (m *metrics) sample() (begin time.Time) {
	if rand.Uint32()%SampleRate == 0 {
		begin = time.Now()
	}
	return begin
}

// answered measures an answer out of memory that began then; the zero time: it is not measured.
func (m *metrics) answered(begin *time.Time) {
	if !begin.IsZero() {
		m.remembered.observe(time.Since(*begin))
	}
}

// waitBounds are for waits: a local resolver takes a millisecond, Postfix gives up at 100 s.
func waitBounds() [histogramBounds]time.Duration {
	return [...]time.Duration{
		time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
		200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		20 * time.Second, 40 * time.Second, 60 * time.Second, 85 * time.Second,
	}
}

// memoryBounds are for answers out of memory.
func memoryBounds() [histogramBounds]time.Duration {
	return [...]time.Duration{
		100, 200, 500, time.Microsecond, 2 * time.Microsecond, 5 * time.Microsecond, 10 * time.Microsecond,
		20 * time.Microsecond,
		50 * time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond,
		20 * time.Millisecond, 100 * time.Millisecond,
	}
}

const histogramBounds = 15

// histogram counts durations. Make it with newHistogram.
type histogram struct {
	bounds [histogramBounds]time.Duration
	counts [histogramBounds + 1]atomic.Uint64 // the last: beyond all bounds
	sum    atomic.Int64                       // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Histogram is how long things took.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64 // of durations up to the bound at the same place, and over the one before
	Over   uint64   // of those over the last bound
	Sum    time.Duration
}

func (h *histogram) read() Histogram {
	r := Histogram{Bounds: h.bounds[:], Counts: make([]uint64, len(h.bounds)), Sum: time.Duration(h.sum.Load())}
	for i := range r.Counts {
		r.Counts[i] = h.counts[i].Load()
	}
	r.Over = h.counts[len(h.bounds)].Load()
	return r
}

// Metrics reads the counts. It costs microseconds, and holds up no question.
func (s *Admin) Metrics() Metrics {
	cfg := s.config.Load()
	m := Metrics{
		Remembered: s.metrics.remembered.read(), Waited: s.metrics.waited.read(),
		WaitedDANE: s.metrics.waitedDANE.read(),
		Adopted:    s.metrics.adopted.Load(),
		Lookups:    int(s.updater.lookingUp.Load()), Fetching: int(s.updater.fetching.Load()), Absences: -1,
	}
	for i := range s.metrics.discoveries {
		m.Discoveries = append(m.Discoveries, Count{discoveryResult(i).String(), s.metrics.discoveries[i].Load()})
	}
	for i := range s.metrics.fetches {
		result := "ok"
		if i > 0 {
			result = fetch.Kind(i).String()
		}
		m.Fetches = append(m.Fetches, Count{result, s.metrics.fetches[i].Load()})
	}
	m.HostFaults = s.hostFaults.count()
	for i := dane.None; i <= dane.Failed; i++ {
		m.DANE = append(m.DANE, Count{i.String(), s.metrics.dane[i].Load()})
	}
	m.Absences = s.memory.Negatives()
	m.Unsaved, _, m.Failing = s.pending.state()
	if f, ok := cfg.Fetcher.(interface{ HasRoots() bool }); ok {
		m.NoRoots = !f.HasRoots()
	}
	if d, ok := cfg.DNS.(interface{ AuthenticServers() bool }); ok {
		m.TrustedAD = d.AuthenticServers()
	}
	if r, ok := cfg.Reporter.(interface{ Stats() (sent, dropped uint64) }); ok {
		m.Reported, m.Dropped = r.Stats()
	}
	return m
}
