package cache

import (
	"iter"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// DefaultMax is how many policies, and how many negatives, a Memory holds unless told otherwise.
const DefaultMax = 1_000_000

// maxFailures bounds how many failures are remembered. What is evicted is looked up again when it is asked for.
const maxFailures = 100_000

// Memory is a resolver.Memory, with bounds. Policies and negatives have bounds of their own, so neither can push out
// the other. What reaches its bound evicts, of a few entries drawn at random, the one that matters least: the negative
// that expires first, the policy that was longest unused. Locks are held for microseconds. A failure is remembered with
// its reason, which takes some hundred bytes, and so has a smaller bound; that a domain has no policy takes some
// twenty.
type Memory struct {
	policies  *Bounded[dnsname.Name, *resolver.CachedPolicy]
	failures  *Bounded[dnsname.Name, resolver.Negative] // all but resolver.NoPolicy
	negatives *negatives                                // resolver.NoPolicy
}

var _ resolver.Memory = (*Memory)(nil)

// MemoryOptions are the bounds of a Memory; zero means DefaultMax.
type MemoryOptions struct {
	MaxNegative int // negatives
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
	idle := Rank[*resolver.CachedPolicy]{
		Before: func(a, b *resolver.CachedPolicy) bool { return lastUse(a).Before(lastUse(b)) }}
	brief := Rank[resolver.Negative]{
		Before: func(a, b resolver.Negative) bool { return a.Expires().Before(b.Expires()) }}
	return &Memory{
		policies:  NewBounded[dnsname.Name](Bounds{Count: opt.MaxPolicies}, idle),
		failures:  NewBounded[dnsname.Name](Bounds{Count: min(opt.MaxNegative, maxFailures)}, brief),
		negatives: newNegatives(opt.MaxNegative),
	}
}

// lastUse is when a policy was last asked for, or fetched if that was later.
func lastUse(h *resolver.CachedPolicy) time.Time {
	if used := h.Used(); used.After(h.Entry.Fetched) {
		return used
	}
	return h.Entry.Fetched
}

// SetMaxNegative puts another bound of negatives in force: what is remembered stays, as far as there is room. It may
// take a second for millions; questions do not wait for it.
func (m *Memory) SetMaxNegative(now time.Time, bound int) {
	m.negatives.resize(now, bound)
	m.failures.SetBounds(Bounds{Count: min(bound, maxFailures)})
}

// Policy implements resolver.Memory.
func (m *Memory) Policy(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	return m.policies.Get(domain)
}

// PutPolicy implements resolver.Memory.
func (m *Memory) PutPolicy(h *resolver.CachedPolicy) {
	m.policies.Put(h.Entry.Domain, h)
	m.negatives.forget(h.Entry.Domain.String())
	m.forgetFailure(h.Entry.Domain)
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
		m.negatives.put(now, domain.String(), none.Expires().Unix())
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
