// Package memorytest has the memories that tests of the resolver use: plain maps behind a mutex. The daemon's own, in
// package cache, are bounded, and import the resolver; with these a test of the resolver needs no cache, and what it
// put is there until it is forgotten. They are safe for concurrent use.
package memorytest

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

// Memory is a resolver.Memory without bounds. Its walks yield what is there when they are asked for.
type Memory struct {
	mu        sync.Mutex
	policies  map[dnsname.Name]*resolver.CachedPolicy
	negatives map[dnsname.Name]resolver.Negative
}

var _ resolver.Memory = (*Memory)(nil)

// New returns an empty Memory.
func New() *Memory {
	return &Memory{policies: map[dnsname.Name]*resolver.CachedPolicy{}, negatives: map[dnsname.Name]resolver.Negative{}}
}

// Policy implements resolver.Memory.
func (m *Memory) Policy(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.policies[domain]
	return h, ok
}

// PutPolicy implements resolver.Memory.
func (m *Memory) PutPolicy(h *resolver.CachedPolicy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policies[h.Domain()] = h
	delete(m.negatives, h.Domain())
}

// ForgetPolicy implements resolver.Memory.
func (m *Memory) ForgetPolicy(domain dnsname.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.policies, domain)
}

// All implements resolver.Memory.
func (m *Memory) All() iter.Seq[*resolver.CachedPolicy] {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Values(slices.Collect(maps.Values(m.policies)))
}

// NoPolicy implements resolver.Memory.
func (m *Memory) NoPolicy(domain dnsname.Name) (resolver.NoPolicy, bool) {
	n, _ := m.Negative(domain)
	none, ok := n.(resolver.NoPolicy)
	return none, ok
}

// Negative implements resolver.Memory.
func (m *Memory) Negative(domain dnsname.Name) (resolver.Negative, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.negatives[domain]
	return n, ok
}

// PutNegative implements resolver.Memory.
func (m *Memory) PutNegative(_ time.Time, domain dnsname.Name, n resolver.Negative) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.negatives[domain] = n
}

// Failures implements resolver.Memory.
func (m *Memory) Failures() iter.Seq2[dnsname.Name, resolver.Negative] {
	m.mu.Lock()
	defer m.mu.Unlock()
	failures := maps.Clone(m.negatives)
	maps.DeleteFunc(failures, func(_ dnsname.Name, n resolver.Negative) bool {
		_, none := n.(resolver.NoPolicy)
		return none
	})
	return maps.All(failures)
}

// Negatives implements resolver.Memory.
func (m *Memory) Negatives() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.negatives)
}

// Findings is a dane.Memory without bounds. The zero Findings is empty.
type Findings struct {
	mu      sync.Mutex
	entries map[dane.Destination]dane.Entry
}

var _ dane.Memory = (*Findings)(nil)

// Get implements dane.Memory.
func (f *Findings) Get(to dane.Destination) (dane.Entry, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.entries[to]
	return e, ok
}

// Update implements dane.Memory.
func (f *Findings) Update(to dane.Destination, change func(dane.Entry, bool) (dane.Entry, bool)) {
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
