package check

import (
	"context"
	"net/netip"
	"sync"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// dnsCache is the DNS of one check. It sends each question once, so that all parts of the check see the same answer. A
// lookup continues if the caller that started it gives up, for the other callers.
type dnsCache struct {
	dns resolver.DNS
	ctx context.Context // context of all lookups

	mu      sync.Mutex
	closed  bool
	calls   map[question]*dnsLookup
	running sync.WaitGroup
}

type question struct{ qtype, name string }

// dnsLookup is a lookup in progress or complete.
type dnsLookup struct {
	done  chan struct{}
	value any // lookupResult[T]
}

// lookupResult is the result of a lookup.
type lookupResult[T any] struct {
	answer dnsclient.Answer[T]
	err    error // a *dnsclient.Error
}

func newDNSCache(ctx context.Context, dns resolver.DNS) *dnsCache {
	return &dnsCache{dns: dns, ctx: ctx, calls: map[question]*dnsLookup{}}
}

// close forbids new lookups and waits for those in progress, which end when the cache's context ends.
func (m *dnsCache) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.running.Wait()
}

func lookUp[T any](ctx context.Context, m *dnsCache, q question,
	lookup func(context.Context, string) (dnsclient.Answer[T], error)) (dnsclient.Answer[T], error) {
	c := m.start(q, func(c *dnsLookup) {
		a, err := lookup(m.ctx, q.name)
		c.value = lookupResult[T]{a, err}
	})
	var ended <-chan struct{}
	if c != nil {
		ended = c.done
	}
	select {
	case <-ended:
		got := c.value.(lookupResult[T])
		return got.answer, got.err
	case <-ctx.Done():
		return dnsclient.Answer[T]{},
			&dnsclient.Error{Name: q.name, Type: q.qtype, Kind: dnsclient.Cancelled, Err: context.Cause(ctx)}
	}
}

// start returns the lookup of a question, and starts it if there is none yet; nil after close.
func (m *dnsCache) start(q question, lookup func(*dnsLookup)) *dnsLookup {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[q]; c != nil || m.closed {
		return c
	}
	c := &dnsLookup{done: make(chan struct{})}
	m.calls[q] = c
	m.running.Go(func() {
		defer close(c.done)
		lookup(c)
	})
	return c
}

// TXT implements resolver.DNS.
func (m *dnsCache) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	return lookUp(ctx, m, question{"TXT", name}, m.dns.TXT)
}

// A implements resolver.DNS.
func (m *dnsCache) A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	return lookUp(ctx, m, question{"A", name}, m.dns.A)
}

// AAAA implements resolver.DNS.
func (m *dnsCache) AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	return lookUp(ctx, m, question{"AAAA", name}, m.dns.AAAA)
}

// MX implements resolver.DNS.
func (m *dnsCache) MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error) {
	return lookUp(ctx, m, question{"MX", name}, m.dns.MX)
}

// TLSA implements resolver.DNS.
func (m *dnsCache) TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error) {
	return lookUp(ctx, m, question{"TLSA", name}, m.dns.TLSA)
}

// addresses looks up the addresses of a host, IPv6 first. It returns an error only if neither family has an address.
func (m *dnsCache) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	var v4, v6 lookupResult[netip.Addr]
	var both sync.WaitGroup
	both.Go(func() { v4.answer, v4.err = m.A(ctx, host) })
	both.Go(func() { v6.answer, v6.err = m.AAAA(ctx, host) })
	both.Wait()
	found := append(append([]netip.Addr(nil), v6.answer.Records...), v4.answer.Records...)
	switch {
	case len(found) > 0:
		return found, nil
	case v4.err != nil:
		return nil, v4.err
	}
	return nil, v6.err
}
