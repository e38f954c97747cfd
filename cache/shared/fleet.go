package shared

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Fleet is a resolver.Fleet over a Valkey or Redis engine (tested: Redis 7.0, Valkey 8.1): what one stsmapd learns, the
// others know. No host needs it: while the engine is away, slow, full or wrong, each host continues with its own store.
// A monitor keeps the connection, finds out when the engine fails and when it is well again, and pushes what was learnt
// meanwhile.
//
// Who can write to the engine can change policies. A value is believed if it is whole, parses, and was fetched later
// than what this host has; other values are dropped.
type Fleet struct {
	engine       *engine
	values       *values
	queue        *queue
	claims       *claims
	subscription *subscription
}

var _ resolver.Fleet = (*Fleet)(nil)

// DefaultBudget is how long an operation may take unless Options say otherwise.
const DefaultBudget = 50 * time.Millisecond

// DefaultPrefix begins all keys and the channel's name unless Options say otherwise.
const DefaultPrefix = "stsmapd:"

// Options are what a Fleet needs. Only Endpoint must be set.
type Options struct {
	Endpoint Endpoint
	Prefix   string        // "": DefaultPrefix. Fleets with different prefixes can use one engine
	Host     string        // this host's name, for people; "": "unknown"
	Budget   time.Duration // for each operation; 0: DefaultBudget
	Logger   *slog.Logger
	Now      func() time.Time // time.Now when nil
}

// Open begins to connect and returns at once, whatever the engine's state. Close it after use.
func Open(opt Options) *Fleet {
	if opt.Prefix == "" {
		opt.Prefix = DefaultPrefix
	}
	if !record.ValidHost(opt.Host) {
		opt.Host = "unknown"
	}
	if opt.Budget <= 0 {
		opt.Budget = DefaultBudget
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	e := newEngine(opt)
	v := &values{engine: e, host: opt.Host, garbage: limitedLog{log: opt.Logger}}
	f := &Fleet{engine: e, values: v, queue: newQueue(v), claims: &claims{engine: e, values: v},
		subscription: &subscription{engine: e}}
	m := &monitor{engine: e, queue: f.queue, subscription: f.subscription}
	e.tasks.Go(m.run)
	return f
}

// Close ends the connection. What still waits to be pushed is offered by the next stsmapd that has this host's store.
func (f *Fleet) Close() { f.engine.close() }

// Find implements resolver.Fleet.
func (f *Fleet) Find(ctx context.Context, domain dnsname.Name) resolver.SharedState {
	return f.values.find(ctx, domain)
}

// Claim implements resolver.Fleet.
func (f *Fleet) Claim(ctx context.Context, domain dnsname.Name, a resolver.Attempt) resolver.Claim {
	return f.claims.claim(ctx, domain, a)
}

// Share implements resolver.Fleet.
func (f *Fleet) Share(ctx context.Context, e resolver.Entry) {
	if w, ok := f.values.prepare(e); ok {
		f.queue.push(ctx, w)
	}
}

// End implements resolver.Fleet.
func (f *Fleet) End(ctx context.Context, domain dnsname.Name, upTo time.Time) error {
	f.queue.drop(domain)
	if err := f.values.put(ctx, outgoing{domain: domain, value: endedValue(domain, upTo)}); err != nil {
		return fmt.Errorf("shared engine %s: %w", f.engine.endpoint, err)
	}
	return nil
}

// Offer implements resolver.Fleet.
func (f *Fleet) Offer(ctx context.Context, e resolver.Entry) error {
	w, ok := f.values.prepare(e)
	if !ok {
		return nil
	}
	w.quiet = true
	return f.values.put(ctx, w)
}

// Watch implements resolver.Fleet.
func (f *Fleet) Watch(ctx context.Context, l resolver.FleetListener) { f.subscription.watch(ctx, l) }

// Failing reports whether the engine cannot be asked, or takes no writes.
func (f *Fleet) Failing() bool { return f.engine.health.failing() }

// Stats returns the counts.
func (f *Fleet) Stats() Stats {
	v, c, s := f.values, f.claims, f.subscription
	return Stats{
		Failing: f.Failing(), Queued: f.queue.len(),
		ReadStats: ReadStats{Hits: v.hits.Load(), Misses: v.misses.Load(), Failed: v.failed.Load(),
			Skipped: v.skipped.Load(), Poisoned: v.poisoned.Load()},
		WriteStats: WriteStats{Stored: v.stored.Load(), Stale: v.stale.Load(), Unwritten: v.unwritten.Load(),
			Dropped: f.queue.dropped.Load()},
		ClaimStats: ClaimStats{Granted: c.granted.Load(), Taken: c.taken.Load(), Refused: c.refused.Load(),
			Unclaimed: c.unclaimed.Load()},
		MessageStats: MessageStats{Messages: s.messages.Load(), BadMessages: s.badMessages.Load()},
	}
}
