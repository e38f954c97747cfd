package cache

import (
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// DefaultMax is how many negatives a Memory holds unless told otherwise.
const DefaultMax = 1_000_000

// DefaultBytes is how many bytes of memory the policies of a Memory take unless told otherwise.
const DefaultBytes = 256 << 20

// leastBytes is what no policy is smaller than.
const leastBytes = 896

// fullInterval is the least time between two log lines about a full memory.
const fullInterval = 24 * time.Hour

// maxFailures bounds how many failures are remembered. What is evicted is looked up again when it is asked for.
const maxFailures = 100_000

// Memory is a resolver.Memory, with bounds. Policies and negatives have bounds of their own, so neither can push out
// the other. What reaches its bound evicts, of a few entries drawn at random, the one that matters least: the negative
// that expires first; of the policies, one that was asked for on one day only, and of these the longest unused. Locks
// are held for microseconds. A failure is remembered with its reason, which takes some hundred bytes, and so has a
// smaller bound; that a domain has no policy takes some twenty.
type Memory struct {
	policies  *Bounded[dnsname.Name, *resolver.CachedPolicy]
	failures  *Bounded[dnsname.Name, resolver.Negative] // all but resolver.NoPolicy
	negatives *negatives                                // resolver.NoPolicy

	log     *slog.Logger
	evicted atomic.Uint64 // policies
	alerted atomic.Int64  // clock.Ticks of the last line about a full memory
}

var _ resolver.Memory = (*Memory)(nil)

// MemoryOptions are the bounds of a Memory; zero means DefaultMax and DefaultBytes.
type MemoryOptions struct {
	MaxNegative int                   // negatives
	MaxBytes    int64                 // of policies
	MaxPolicies int                   // 0: as many as MaxBytes allows
	Logger      *slog.Logger          // nil: nothing is logged
	Registerer  prometheus.Registerer // takes the metrics, all named stsmapd_memory_…; nil: nobody reads them
}

// NewMemory returns an empty memory.
func NewMemory(opt MemoryOptions) *Memory {
	if opt.MaxNegative <= 0 {
		opt.MaxNegative = DefaultMax
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = DefaultBytes
	}
	if opt.MaxPolicies <= 0 {
		opt.MaxPolicies = int(opt.MaxBytes / leastBytes)
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Memory{log: opt.Logger, negatives: newNegatives(opt.MaxNegative)}
	idle := Rank[*resolver.CachedPolicy]{Before: idler, Keep: (*resolver.CachedPolicy).UsedOften,
		Evicted: func() { m.evicted.Add(1) }, Cost: (*resolver.CachedPolicy).Bytes}
	brief := Rank[resolver.Negative]{
		Before: func(a, b resolver.Negative) bool { return a.Expires().Before(b.Expires()) }}
	m.policies = NewBounded[dnsname.Name](Bounds{Count: opt.MaxPolicies, Cost: opt.MaxBytes}, idle)
	m.failures = NewBounded[dnsname.Name](Bounds{Count: min(opt.MaxNegative, maxFailures)}, brief)
	m.register(promauto.With(opt.Registerer))
	return m
}

func (m *Memory) register(metrics promauto.Factory) {
	gauge := func(name, help string, value func() float64) {
		metrics.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "stsmapd", Name: name, Help: help}, value)
	}
	gauge("memory_policies", "Policies in memory.", func() float64 { return float64(m.policies.Len()) })
	gauge("memory_bytes", "Bytes of memory that policies take, about.",
		func() float64 { return float64(m.policies.Cost()) })
	metrics.NewCounterFunc(prometheus.CounterOpts{Namespace: "stsmapd", Name: "memory_evicted_total",
		Help: "Policies that were dropped from memory because it was full (cache.memory); the store has them."},
		func() float64 { return float64(m.evicted.Load()) })
}

// idler reports whether a is evicted before b.
func idler(a, b *resolver.CachedPolicy) bool {
	if often := b.UsedOften(); often != a.UsedOften() {
		return often
	}
	return lastUse(a).Before(lastUse(b))
}

// lastUse is when a policy was last asked for, or fetched if that was later.
func lastUse(h *resolver.CachedPolicy) time.Time {
	if used := h.Used(); used.After(h.Fetched()) {
		return used
	}
	return h.Fetched()
}

// SetMaxNegative puts another bound of negatives in force: what is remembered stays, as far as there is room. It may
// take a second for millions; questions do not wait for it.
func (m *Memory) SetMaxNegative(now time.Time, bound int) {
	m.negatives.resize(now, bound)
	m.failures.SetBounds(Bounds{Count: min(bound, maxFailures)})
}

// SetMaxBytes puts another bound of the policies' bytes in force.
func (m *Memory) SetMaxBytes(bound int64) {
	m.policies.SetBounds(Bounds{Count: int(bound / leastBytes), Cost: bound})
}

// Policy implements resolver.Memory.
func (m *Memory) Policy(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	return m.policies.Get(domain)
}

// PutPolicy implements resolver.Memory.
func (m *Memory) PutPolicy(h *resolver.CachedPolicy) {
	m.policies.Put(h.Domain(), h)
	if evicted := m.evicted.Load(); evicted > 0 {
		m.full(evicted)
	}
	m.negatives.forget(h.Domain().String())
	m.forgetFailure(h.Domain())
}

// full logs, once in fullInterval, that policies were evicted.
func (m *Memory) full(evicted uint64) {
	last, now := m.alerted.Load(), clock.Ticks(clock.Monotonic())
	if now-last >= int64(fullInterval) && m.alerted.CompareAndSwap(last, now) {
		m.log.Warn("the memory for policies is full: some are read from the store when they are asked for, which "+
			"takes longer; raise cache.memory, and MemoryMax= of the service, if there is room", "event", "memory_full",
			"policies", m.Policies(), "bytes", m.policies.Cost(), "evicted", evicted)
	}
}

// ForgetPolicy implements resolver.Memory.
func (m *Memory) ForgetPolicy(domain dnsname.Name) { m.policies.Delete(domain) }

// All implements resolver.Memory.
func (m *Memory) All() iter.Seq[*resolver.CachedPolicy] {
	return func(yield func(*resolver.CachedPolicy) bool) {
		for _, h := range m.policies.All() {
			if !yield(h) {
				return
			}
		}
	}
}

// NoPolicy implements resolver.Memory.
func (m *Memory) NoPolicy(domain dnsname.Name) (resolver.NoPolicy, bool) {
	until, ok := m.negatives.get(domain.String())
	return resolver.NoPolicyUntil(until), ok
}

// Negative implements resolver.Memory.
func (m *Memory) Negative(domain dnsname.Name) (resolver.Negative, bool) {
	if none, ok := m.NoPolicy(domain); ok {
		return none, true
	}
	return m.failures.Get(domain)
}

// PutNegative implements resolver.Memory.
func (m *Memory) PutNegative(now time.Time, domain dnsname.Name, n resolver.Negative) {
	if none, ok := n.(resolver.NoPolicy); ok {
		m.negatives.put(now, domain.String(), none.Until())
		m.forgetFailure(domain)
		return
	}
	m.failures.Put(domain, n)
	m.negatives.forget(domain.String())
}

// Failures implements resolver.Memory.
func (m *Memory) Failures() iter.Seq2[dnsname.Name, resolver.Negative] {
	return func(yield func(dnsname.Name, resolver.Negative) bool) {
		for name, n := range m.failures.All() {
			if !yield(dnsname.MustParse(name), n) {
				return
			}
		}
	}
}

// forgetFailure takes no lock where there is none.
func (m *Memory) forgetFailure(domain dnsname.Name) {
	if _, ok := m.failures.Get(domain); ok {
		m.failures.Delete(domain)
	}
}

// Policies is how many policies there are.
func (m *Memory) Policies() int { return m.policies.Len() }

// Negatives implements resolver.Memory. It takes no lock.
func (m *Memory) Negatives() int { return m.negatives.len() + m.failures.Len() }
