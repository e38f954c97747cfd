package check

import (
	"context"
	"net/netip"
	"sync"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// memo is the DNS for one check: each question is asked once, so that all parts of the check see the same answer. A
// lookup goes on when the one who asked first gives up, for the others.
type memo struct {
	dns resolver.DNS
	ctx context.Context // of all lookups

	mu      sync.Mutex
	closed  bool
	calls   map[question]*call
	running sync.WaitGroup
}

type question struct{ qtype, name string }

// call is a lookup under way or done.
type call struct {
	done  chan struct{}
	value any // looked[T]
}

// looked is the result of a lookup.
type looked[T any] struct {
	answer dnsclient.Answer[T]
	err    error // a *dnsclient.Error
}

func newMemo(ctx context.Context, dns resolver.DNS) *memo {
	return &memo{dns: dns, ctx: ctx, calls: map[question]*call{}}
}

// close waits for the lookups under way, which end when the memo's context does; there are no new ones.
func (m *memo) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.running.Wait()
}

func ask[T any](ctx context.Context, m *memo, q question,
	lookup func(context.Context, string) (dnsclient.Answer[T], error)) (dnsclient.Answer[T], error) {
	c := m.call(q, func() any {
		a, err := lookup(m.ctx, q.name)
		return looked[T]{a, err}
	})
	var ended <-chan struct{}
	if c != nil {
		ended = c.done
	}
	select {
	case <-ended:
		got := c.value.(looked[T])
		return got.answer, got.err
	case <-ctx.Done():
		return dnsclient.Answer[T]{},
			&dnsclient.Error{Name: q.name, Type: q.qtype, Kind: dnsclient.Cancelled, Err: context.Cause(ctx)}
	}
}

// call returns the question's lookup, begun if need be; nil after close.
func (m *memo) call(q question, lookup func() any) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[q]; c != nil || m.closed {
		return c
	}
	c := &call{done: make(chan struct{})}
	m.calls[q] = c
	m.running.Go(func() {
		defer close(c.done)
		c.value = lookup()
	})
	return c
}

// TXT implements resolver.DNS.
func (m *memo) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	return ask(ctx, m, question{"TXT", name}, m.dns.TXT)
}

// A implements resolver.DNS.
func (m *memo) A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	return ask(ctx, m, question{"A", name}, m.dns.A)
}

// AAAA implements resolver.DNS.
func (m *memo) AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	return ask(ctx, m, question{"AAAA", name}, m.dns.AAAA)
}

// MX implements resolver.DNS.
func (m *memo) MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error) {
	return ask(ctx, m, question{"MX", name}, m.dns.MX)
}

// TLSA implements resolver.DNS.
func (m *memo) TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error) {
	return ask(ctx, m, question{"TLSA", name}, m.dns.TLSA)
}

// addresses looks a host's addresses up, IPv6 first. The error is that of a family, where the other has none.
func (m *memo) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	var v4, v6 looked[netip.Addr]
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
