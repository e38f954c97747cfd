package shared

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/shared/guard"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Fleet is a resolver.Fleet over a Valkey or Redis engine (tested: Redis 7.0, Valkey 8.1): what one stsmapd learns, the
// others know. It is never needed: while the engine is away, slow, full or wrong, each host goes on with its own store.
// A monitor keeps the connection, finds out when the engine fails and when it is well again, and pushes what was learnt
// meanwhile.
//
// Who can write to the engine can change policies. A value is believed if it is whole, parses, and was fetched later
// than what this host has; what does not is dropped.
type Fleet struct {
	endpoint Endpoint
	prefix   string
	self     string // this host's name
	sender   string // of this Fleet's messages
	budget   time.Duration
	log      *slog.Logger
	now      func() time.Time
	scripts  scripts
	health   *health
	guard    *guard.Guard
	stats    counters

	client atomic.Pointer[valkey.Client] // nil while there is no connection

	queue queue

	mu         sync.Mutex
	renewed    func() // of Watch
	unheard    bool   // the engine's epoch changed while nobody watched
	lastEpoch  string
	lastPoison time.Time // of the last line about a value that cannot be read
	lastBreach time.Time // of the last line about the protocol

	ctx    context.Context // of all that goes on by itself; ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	kick   chan struct{} // wakes the monitor
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
	ctx, cancel := context.WithCancel(context.Background())
	s := &Fleet{
		endpoint: opt.Endpoint, prefix: opt.Prefix, self: opt.Host, sender: senderName(rand.Uint64()),
		budget: opt.Budget,
		log:    opt.Logger, now: opt.Now, scripts: newScripts(), queue: newQueue(),
		ctx: ctx, cancel: cancel, kick: make(chan struct{}, 1),
	}
	if s.prefix == "" {
		s.prefix = DefaultPrefix
	}
	if !record.ValidHost(s.self) {
		s.self = "unknown"
	}
	if s.budget <= 0 {
		s.budget = DefaultBudget
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.health = newHealth(s.log, s.endpoint.String())
	s.guard = guard.New(s.violated)
	s.tasks.Go(s.monitor)
	return s
}

// Close ends the connection. What still waits to be pushed is offered by the next stsmapd that has this host's store.
func (s *Fleet) Close() {
	s.cancel()
	s.tasks.Wait()
}

// use runs an operation within the budget, unless the circuit is open, and counts what became of it.
func (s *Fleet) use(ctx context.Context, c *circuit, operation func(context.Context, valkey.Client) error) error {
	client := s.client.Load()
	if client == nil || !s.health.allows(c) {
		return errTripped
	}
	ctx, cancel := context.WithTimeout(ctx, s.budget)
	defer cancel()
	err := operation(ctx, *client)
	s.health.note(c, err)
	if err != nil {
		s.wake()
	}
	return err
}

// Find implements resolver.Fleet.
func (s *Fleet) Find(ctx context.Context, domain dnsname.Name) resolver.SharedState {
	var text string
	err := s.use(ctx, &s.health.reads, func(ctx context.Context, c valkey.Client) (err error) {
		text, err = s.get(ctx, c, domain)
		return err
	})
	switch {
	case errors.Is(err, errTripped):
		s.stats.skipped.Add(1)
	case err != nil:
		s.stats.failed.Add(1)
	case text == "":
		s.stats.misses.Add(1)
	default:
		s.stats.hits.Add(1)
	}
	return s.read(ctx, domain, text)
}

// read decodes a value. One that cannot be read is dropped, here and in the engine.
func (s *Fleet) read(ctx context.Context, domain dnsname.Name, text string) resolver.SharedState {
	if text == "" {
		return resolver.SharedState{}
	}
	t, err := decodeValue(domain.String(), text)
	if err != nil {
		s.poisoned(ctx, domain, text, err)
		return resolver.SharedState{}
	}
	if t.Entry != nil && t.Entry.Origin == s.self {
		t.Entry.Origin = ""
	}
	return t
}

// poisonInterval is the least time between two lines about values that cannot be read.
const poisonInterval = time.Minute

func (s *Fleet) poisoned(ctx context.Context, domain dnsname.Name, text string, err error) {
	if errors.Is(err, record.ErrVersion) {
		return // another version's: it stays
	}
	s.stats.poisoned.Add(1)
	now := s.now()
	s.mu.Lock()
	tell := now.Sub(s.lastPoison).Abs() >= poisonInterval
	if tell {
		s.lastPoison = now
	}
	s.mu.Unlock()
	if tell {
		s.log.Error("a value in the shared engine is no stsmapd's: it is dropped, and what this host knows stands; "+
			"find out who writes "+
			"to the engine, and lock it down", "event", "shared_poisoned", "domain", domain, "error", err)
	}
	_ = s.use(ctx, &s.health.writes, func(ctx context.Context, c valkey.Client) error {
		_, err := s.replace(ctx, c, replacement{keys: []string{s.valueKey(domain)}, from: text})
		return err
	})
}

// Share implements resolver.Fleet.
func (s *Fleet) Share(ctx context.Context, e resolver.Entry) {
	v, err := policyValue(s.now(), e, s.self)
	if err != nil || v.life <= 0 {
		return // no parser made it, or it has expired
	}
	s.push(ctx, outgoing{domain: e.Domain, value: v})
}

// End implements resolver.Fleet.
func (s *Fleet) End(ctx context.Context, domain dnsname.Name, upTo time.Time) error {
	s.queue.drop(domain)
	if err := s.put(ctx, outgoing{domain: domain, value: endedValue(domain, upTo)}); err != nil {
		return fmt.Errorf("shared engine %s: %w", s.endpoint, err)
	}
	return nil
}

// Offer implements resolver.Fleet.
func (s *Fleet) Offer(ctx context.Context, e resolver.Entry) error {
	v, err := policyValue(s.now(), e, s.self)
	if err != nil || v.life <= 0 {
		return nil
	}
	return s.put(ctx, outgoing{domain: e.Domain, value: v, quiet: true})
}
