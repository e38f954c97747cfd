package resolver

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// sampleRate is of how many answers out of memory one is measured: to look at the clock takes longer than many of them.
const sampleRate = 1024

// metrics are a Service's counters and histograms. Their children are resolved here, so that to count takes no lock and
// no memory. All labels are stable words of a short list.
type metrics struct {
	discoveries [discoveryResults]prometheus.Counter
	fetches     [fetch.HostFault + 1]prometheus.Counter // 0: success
	hostFaults  [fault.Exhausted + 1]prometheus.Counter // of fault.Domain there are none
	adopted     prometheus.Counter
	evicted     prometheus.Counter
	remembered  prometheus.Observer
	waited      prometheus.Observer
}

func newMetrics(r prometheus.Registerer) *metrics {
	factory := promauto.With(r)
	counter := func(name, help, label string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Namespace: "stsmapd", Name: name, Help: help},
			[]string{label})
	}
	m := &metrics{
		adopted: factory.NewCounter(prometheus.CounterOpts{Namespace: "stsmapd", Name: "shared_adopted_total",
			Help: "Policies that were taken over from other hosts."}),
		evicted: factory.NewCounter(prometheus.CounterOpts{Namespace: "stsmapd", Name: "policies_evicted_total",
			Help: "Policies that were removed because the store was full (cache.max_policies, cache.store)."}),
		remembered: factory.NewHistogram(prometheus.HistogramOpts{Namespace: "stsmapd", Name: "answer_memory_seconds",
			Help:    "Time that an answer out of memory took; one in 1024 is measured.",
			Buckets: memoryBuckets()}),
		waited: dane.WaitHistogram(r, "policy"),
	}
	discoveries := counter("discoveries_total", "Looks at _mta-sts TXT records by result.", "result")
	for result := range discoveryResults {
		m.discoveries[result] = discoveries.WithLabelValues(result.String())
	}
	fetches := counter("fetches_total", "Fetches of policies by result.", "result")
	m.fetches[0] = fetches.WithLabelValues("ok")
	for _, kind := range fetch.Kinds() {
		m.fetches[kind] = fetches.WithLabelValues(kind.String())
	}
	faults := counter("host_faults_total", "Looks for policies that failed by a fault of this host, by kind: host "+
		"(roots, proxy, route) or exhausted (descriptors, memory, ports, limits).", "kind")
	for _, kind := range []fault.Kind{fault.Host, fault.Exhausted} {
		m.hostFaults[kind] = faults.WithLabelValues(kind.String())
	}
	return m
}

// memoryBuckets are for answers out of memory: 100 ns to 100 ms.
func memoryBuckets() []float64 {
	return []float64{1e-7, 2e-7, 5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1}
}

// registerGauges registers how things stand, read at each scrape. No gauge takes a lock that a question takes.
func (s *Service) registerGauges(r prometheus.Registerer) {
	factory, admin := promauto.With(r), s.Admin()
	gauge := func(name, help string, read func(Activity) float64) {
		factory.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "stsmapd", Name: name, Help: help},
			func() float64 { return read(admin.Activity()) })
	}
	gauge("lookups_in_flight", "Domains that are being looked up.",
		func(a Activity) float64 { return float64(a.Lookups) })
	gauge("fetches_in_flight", "Of them, those whose policy is being fetched.",
		func(a Activity) float64 { return float64(a.Fetches) })
	gauge("negative_entries", "Domains without a policy in memory.",
		func(a Activity) float64 { return float64(a.Negatives) })
	gauge("policies_unsaved", "Policies that wait for the disk: a restart would forget them.",
		func(a Activity) float64 { return float64(a.Unsaved) })
	gauge("store_failing", "1: the last write to the store failed, policies are in memory alone.",
		func(a Activity) float64 { return truth(a.Failing) })
	gauge("ca_roots_loaded", "0: there is no trusted CA, no policy can be fetched.",
		func(a Activity) float64 { return truth(!a.NoRoots) })
	gauge("dns_failing", "1: DNS lookups fail on this host for every domain, or no DNS server answers; mail to "+
		"domains without a live policy is not protected.", func(a Activity) float64 { return truth(a.DNSFailing) })
	gauge("dns_ad_trusted", "0: the DNS servers' AD bit is not to be believed, DANE cannot be judged.",
		func(a Activity) float64 { return truth(a.TrustedAD) })
	reports := func(result string, read func(sent, dropped uint64) uint64) {
		factory.NewCounterFunc(prometheus.CounterOpts{Namespace: "stsmapd", Name: "tlsrpt_reports_total",
			Help:        "Failed policy fetches for the TLSRPT collector, sent and dropped.",
			ConstLabels: prometheus.Labels{"result": result}}, func() float64 {
			to := s.config.Load().Reporter
			if to == nil {
				return 0
			}
			return float64(read(to.Stats()))
		})
	}
	reports("sent", func(sent, _ uint64) uint64 { return sent })
	reports("dropped", func(_, dropped uint64) uint64 { return dropped })
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
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
func (m *metrics) discovered(d discovery) { m.discoveries[resultOf(d)].Inc() }

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
func (m *metrics) fetched(err error) { m.fetches[kindOf(err)].Inc() }

// kindOf is the kind of a failed fetch, 0 for success.
func kindOf(err error) fetch.Kind {
	if err == nil {
		return 0
	}
	var failed *fetch.Error
	switch {
	case fault.Of(err) != fault.Domain:
		return fetch.HostFault
	case errors.As(err, &failed) && failed.Kind <= fetch.HostFault:
		return failed.Kind
	}
	return fetch.Unreachable
}

// sample is the time now for the answers that are measured, and the zero time for all others.
func (m *metrics) sample() (begin time.Time) {
	if rand.Uint32()%sampleRate == 0 {
		begin = time.Now()
	}
	return begin
}

// answered measures an answer out of memory that began then; the zero time: it is not measured.
func (m *metrics) answered(begin time.Time) {
	if !begin.IsZero() {
		m.remembered.Observe(time.Since(begin).Seconds())
	}
}
