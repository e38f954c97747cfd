package tlspolicy_test

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// mapMemory is a resolver.Memory without bounds. It keeps each name as it was passed, so that a name that changes later
// is found under a wrong key.
type mapMemory struct {
	mu        sync.Mutex
	policies  map[dnsname.Name]*resolver.CachedPolicy
	negatives map[dnsname.Name]resolver.Negative
}

var _ resolver.Memory = (*mapMemory)(nil)

func newMapMemory() *mapMemory {
	return &mapMemory{
		policies: map[dnsname.Name]*resolver.CachedPolicy{}, negatives: map[dnsname.Name]resolver.Negative{},
	}
}

func (m *mapMemory) Policy(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.policies[domain]
	return h, ok
}

func (m *mapMemory) PutPolicy(h *resolver.CachedPolicy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policies[h.Entry.Domain] = h
	delete(m.negatives, h.Entry.Domain)
}

func (m *mapMemory) ForgetPolicy(domain dnsname.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.policies, domain)
}

func (m *mapMemory) NoPolicy(domain dnsname.Name) (resolver.NoPolicy, bool) {
	a, _ := m.Negative(domain)
	none, ok := a.(resolver.NoPolicy)
	return none, ok
}

func (m *mapMemory) Negative(domain dnsname.Name) (resolver.Negative, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.negatives[domain]
	return a, ok
}

func (m *mapMemory) PutNegative(_ time.Time, domain dnsname.Name, a resolver.Negative) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.negatives[domain] = a
}

// All yields the policies that are there when it is called.
func (m *mapMemory) All() iter.Seq[*resolver.CachedPolicy] {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Values(slices.Collect(maps.Values(m.policies)))
}

// Negatives counts the domains without a policy.
func (m *mapMemory) Negatives() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.negatives)
}

// mapFindings is a dane.Memory without bounds.
type mapFindings struct {
	mu      sync.Mutex
	entries map[dane.Destination]dane.Entry
}

var _ dane.Memory = (*mapFindings)(nil)

func newMapFindings() *mapFindings { return &mapFindings{entries: map[dane.Destination]dane.Entry{}} }

func (m *mapFindings) Get(to dane.Destination) (dane.Entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[to]
	return e, ok
}

func (m *mapFindings) Update(to dane.Destination, f func(dane.Entry, bool) (dane.Entry, bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.entries[to]
	delete(m.entries, to)
	if e, keep := f(old, ok); keep {
		m.entries[to] = e
	}
}
