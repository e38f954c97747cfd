package model_test

import (
	"context"
	"iter"
	"maps"
	"sync"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// mapStore is a resolver.Store in memory, without the rule that an older entry replaces no newer one.
type mapStore struct {
	mu      sync.Mutex
	entries map[dnsname.Name]resolver.Entry
}

func newMapStore() *mapStore { return &mapStore{entries: map[dnsname.Name]resolver.Entry{}} }

func (m *mapStore) Get(_ context.Context, domain dnsname.Name) (resolver.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[domain]
	if !ok {
		return e, resolver.ErrNotCached
	}
	return e, nil
}

func (m *mapStore) Put(_ context.Context, e resolver.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[e.Domain] = e
	return nil
}

func (m *mapStore) Delete(_ context.Context, domain dnsname.Name) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, domain)
	return nil
}

func (m *mapStore) All(context.Context) iter.Seq2[resolver.Entry, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := maps.Clone(m.entries)
	return func(yield func(resolver.Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *mapStore) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}
