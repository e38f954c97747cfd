package resolver_test

import (
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// memory is a resolver.Memory without bounds.
type memory struct {
	mu        sync.Mutex
	policies  map[dnsname.Name]*resolver.CachedPolicy
	negatives map[dnsname.Name]resolver.Negative
}

func newMemory() *memory {
	return &memory{policies: map[dnsname.Name]*resolver.CachedPolicy{}, negatives: map[dnsname.Name]resolver.Negative{}}
}

func (m *memory) Policy(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.policies[domain]
	return h, ok
}

func (m *memory) PutPolicy(h *resolver.CachedPolicy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policies[h.Entry.Domain] = h
	delete(m.negatives, h.Entry.Domain)
}

func (m *memory) ForgetPolicy(domain dnsname.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.policies, domain)
}

func (m *memory) All() iter.Seq[*resolver.CachedPolicy] {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*resolver.CachedPolicy, 0, len(m.policies))
	for _, h := range m.policies {
		all = append(all, h)
	}
	return slices.Values(all)
}

func (m *memory) NoPolicy(domain dnsname.Name) (resolver.NoPolicy, bool) {
	n, _ := m.Negative(domain)
	none, ok := n.(resolver.NoPolicy)
	return none, ok
}

func (m *memory) Negative(domain dnsname.Name) (resolver.Negative, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.negatives[domain]
	return n, ok
}

func (m *memory) PutNegative(_ time.Time, domain dnsname.Name, n resolver.Negative) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.negatives[domain] = n
}

func (m *memory) Negatives() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.negatives)
}

// findings is a dane.Memory without bounds. The zero findings is empty.
type findings struct {
	mu      sync.Mutex
	entries map[dane.Destination]dane.Entry
}

func (f *findings) Get(to dane.Destination) (dane.Entry, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.entries[to]
	return e, ok
}

func (f *findings) Update(to dane.Destination, change func(dane.Entry, bool) (dane.Entry, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, ok := f.entries[to]
	e, keep := change(old, ok)
	switch {
	case !keep:
		delete(f.entries, to)
	case f.entries == nil:
		f.entries = map[dane.Destination]dane.Entry{to: e}
	default:
		f.entries[to] = e
	}
}
