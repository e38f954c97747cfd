package cache

import (
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// DefaultMax is how many policies, and how many absences, a Memory holds unless told otherwise.
const DefaultMax = 1_000_000

// share is how many entries a shard holds at most: few, so that its lock is held for microseconds, and just as many as
// Go's map and slice of that size have room for. (A map of 1,000 would take twice as much as one of 850.)
const share = 848

// Memory is a resolver.Memory, with bounds. Policies and absences have tables and bounds of their own, so neither can
// push out the other. A full table drops, of a few entries drawn at random, the one that matters least: the absence
// that expires first, the policy that was longest unused. All of them are in shards, which are locked for microseconds
// at a time. A failure is remembered with its reason, which takes some hundred bytes, and so has a smaller bound; that
// a domain has no policy takes some twenty.
type Memory struct {
	seed      maphash.Seed
	policies  []policyShard
	negatives *negatives // resolver.NoPolicy
	failures  []table    // *resolver.LookupFailed and *resolver.FetchFailed
}

// maxFailures bounds how many failures are remembered. What is dropped is looked up again when it is asked for.
const maxFailures = 100_000

var _ resolver.Memory = (*Memory)(nil)

// MemoryOptions are the bounds of a Memory; zero means DefaultMax.
type MemoryOptions struct {
	MaxNegative int // absences
	MaxPolicies int
}

// NewMemory returns an empty memory.
func NewMemory(opt MemoryOptions) *Memory {
	if opt.MaxNegative <= 0 {
		opt.MaxNegative = DefaultMax
	}
	if opt.MaxPolicies <= 0 {
		opt.MaxPolicies = DefaultMax
	}
	m := &Memory{seed: maphash.MakeSeed()}
	m.policies = newPolicyShards(opt.MaxPolicies)
	m.negatives = newNegatives(opt.MaxNegative)
	m.failures = newTables(maxFailures)
	m.boundFailures(opt.MaxNegative)
	return m
}

// SetMaxNegative puts another bound of absences in force: what is remembered stays, as far as there is room. It may
// take a second for millions; questions do not wait for it.
func (m *Memory) SetMaxNegative(now time.Time, bound int) {
	m.negatives.resize(now, bound)
	m.boundFailures(bound)
}

func (m *Memory) boundFailures(maxNegative int) {
	for i := range m.failures {
		m.failures[i].setBound((min(maxNegative, maxFailures) + i) / len(m.failures))
	}
}

func (m *Memory) policyShard(domain dnsname.Name) *policyShard {
	return &m.policies[m.index(domain.String(), len(m.policies))]
}

func (m *Memory) failureTable(name string) *table { return &m.failures[m.index(name, len(m.failures))] }

// index is which of so many shards a name belongs to.
func (m *Memory) index(name string, shards int) uint64 {
	i, _ := bits.Mul64(maphash.String(m.seed, name), uint64(shards))
	return i
}

// Policy implements resolver.Memory.
func (m *Memory) Policy(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	return m.policyShard(domain).get(domain)
}

// PutPolicy implements resolver.Memory.
func (m *Memory) PutPolicy(h *resolver.CachedPolicy) {
	m.policyShard(h.Entry.Domain).put(h)
	name := h.Entry.Domain.String()
	m.negatives.forget(name)
	m.failureTable(name).forget(name)
}

// ForgetPolicy implements resolver.Memory.
func (m *Memory) ForgetPolicy(domain dnsname.Name) { m.policyShard(domain).forget(domain) }

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
	name := domain.String()
	return m.failureTable(name).get(name)
}

// PutNegative implements resolver.Memory.
func (m *Memory) PutNegative(now time.Time, domain dnsname.Name, a resolver.Negative) {
	name := domain.String()
	failures := m.failureTable(name)
	if none, ok := a.(resolver.NoPolicy); ok {
		m.negatives.put(now, name, none.Expires().Unix())
		failures.forget(name)
		return
	}
	failures.put(now, name, a)
	m.negatives.forget(name)
}

// Policies is how many policies are held.
func (m *Memory) Policies() int {
	n := 0
	for i := range m.policies {
		n += m.policies[i].len()
	}
	return n
}

// Negatives is how many absences are held, those that have expired and were not swept yet included.
func (m *Memory) Negatives() int {
	n := m.negatives.len()
	for i := range m.failures {
		n += m.failures[i].cache.ItemCount()
	}
	return n
}
