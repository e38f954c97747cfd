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

// share is how many entries a shard holds at most: few, so that its lock is never held for long, and just as many as Go's map and
// slice of that size have room for. (A map of 1,000 would take twice as much as one of 850.)
const share = 848

// Memory is a resolver.Memory, with bounds. Policies and absences have tables and bounds of their own, so neither can push out the
// other. A table that is full drops, of a few entries drawn at random, the one that matters least: the absence that expires first,
// the policy that was longest unused. Policies and failures are in go-cache, in shards. A failure is remembered with its reason,
// which takes some hundred bytes, and so has a smaller bound; that a domain has no policy takes some twenty: see negatives.
type Memory struct {
	seed      maphash.Seed
	policies  []table[*resolver.Held]
	negatives *negatives                // resolver.NoPolicy
	failures  []table[resolver.Absence] // *resolver.LookupFailed and *resolver.FetchFailed
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
	m.policies = newTables(opt.MaxPolicies, policyKind())
	m.negatives = newNegatives(opt.MaxNegative)
	m.failures = newTables(maxFailures, failureKind())
	m.boundFailures(opt.MaxNegative)
	return m
}

// SetMaxNegative puts another bound of absences in force: what is remembered stays, as far as there is room. It may take a second
// for millions; questions do not wait for it.
func (m *Memory) SetMaxNegative(now time.Time, bound int) {
	m.negatives.resize(now, bound)
	m.boundFailures(bound)
}

func (m *Memory) boundFailures(maxNegative int) {
	for i := range m.failures {
		m.failures[i].setBound((min(maxNegative, maxFailures) + i) / len(m.failures))
	}
}

// policyKind: a policy has no end in memory. It serves until it expires, and as a fallback for comparing ids after.
func policyKind() kind[*resolver.Held] {
	return kind[*resolver.Held]{
		dead: func(*resolver.Held, time.Time) bool { return false },
		rank: func(h *resolver.Held) time.Time {
			if used := h.Used(); used.After(h.Entry.Fetched) {
				return used
			}
			return h.Entry.Fetched
		},
	}
}

func failureKind() kind[resolver.Absence] {
	return kind[resolver.Absence]{
		dead: func(a resolver.Absence, now time.Time) bool { return !now.Before(a.Expires()) },
		rank: resolver.Absence.Expires,
	}
}

// newTables shares out a bound over shards.
func newTables[V any](bound int, k kind[V]) []table[V] {
	tables := make([]table[V], (bound+share-1)/share)
	for i := range tables {
		tables[i].init((bound+i)/len(tables), k)
	}
	return tables
}

// shard returns the table of a name.
func shard[V any](m *Memory, tables []table[V], name string) *table[V] {
	i, _ := bits.Mul64(maphash.String(m.seed, name), uint64(len(tables)))
	return &tables[i]
}

// Policy implements resolver.Memory.
func (m *Memory) Policy(domain dnsname.Name) (*resolver.Held, bool) {
	name := domain.String()
	return shard(m, m.policies, name).get(name)
}

// PutPolicy implements resolver.Memory.
func (m *Memory) PutPolicy(h *resolver.Held) {
	name := h.Entry.Domain.String()
	shard(m, m.policies, name).put(time.Time{}, name, h)
	m.negatives.forget(name)
	shard(m, m.failures, name).forget(name)
}

// ForgetPolicy implements resolver.Memory.
func (m *Memory) ForgetPolicy(domain dnsname.Name) {
	name := domain.String()
	shard(m, m.policies, name).forget(name)
}

// Absence implements resolver.Memory.
func (m *Memory) Absence(domain dnsname.Name) (resolver.Absence, bool) {
	name := domain.String()
	if until, ok := m.negatives.get(name); ok {
		return resolver.NoPolicyUntil(until), true
	}
	return shard(m, m.failures, name).get(name)
}

// PutAbsence implements resolver.Memory.
func (m *Memory) PutAbsence(now time.Time, domain dnsname.Name, a resolver.Absence) {
	name := domain.String()
	failures := shard(m, m.failures, name)
	if none, ok := a.(resolver.NoPolicy); ok {
		m.negatives.put(now, name, none.Expires().Unix())
		failures.forget(name)
		return
	}
	failures.put(now, name, a)
	m.negatives.forget(name)
}

// Policies is how many policies are held.
func (m *Memory) Policies() int { return total(m.policies) }

// Absences is how many absences are held, those that have expired and were not swept yet included.
func (m *Memory) Absences() int { return m.negatives.len() + total(m.failures) }

func total[V any](tables []table[V]) int {
	n := 0
	for i := range tables {
		n += tables[i].cache.ItemCount()
	}
	return n
}
