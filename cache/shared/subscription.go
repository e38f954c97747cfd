package shared

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver"
)

// watchRetry is the time between two attempts to subscribe to the channel.
const watchRetry = 250 * time.Millisecond

// subscription tells the resolver what happens in the engine: another host's values, and that the engine has lost its
// memory.
type subscription struct {
	engine                *engine
	messages, badMessages atomic.Uint64 // MessageStats

	mu        sync.Mutex
	listener  resolver.FleetListener // nil while nobody watches
	unheard   bool                   // the epoch changed while nobody watched
	lastEpoch string
}

// watch tells the listener what happens, until ctx or the engine ends. A message that is published while there is no
// subscription is lost: each subscription begins with Missed.
func (s *subscription) watch(ctx context.Context, l resolver.FleetListener) {
	s.listen(l)
	defer s.listen(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := s.engine
	defer context.AfterFunc(e.ctx, cancel)()
	subscribing := valkey.WithOnSubscriptionHook(ctx, func(c valkey.PubSubSubscription) {
		if c.Kind == "subscribe" {
			l.Missed()
		}
	})
	var failingSince time.Time // zero: the last attempt listened
	for ctx.Err() == nil {
		if c := e.client.Load(); c != nil {
			begin := e.now()
			_ = (*c).Receive(subscribing, (*c).B().Subscribe().Channel(e.commands.channel()).Build(),
				func(m valkey.PubSubMessage) { s.receive(m, l) })
			switch now := e.now(); {
			case now.Sub(begin).Abs() > renewAfter:
				failingSince = time.Time{}
			case failingSince.IsZero():
				failingSince = begin
			case now.Sub(failingSince).Abs() > renewAfter:
				// By RESP2 the library subscribes on a connection of its own, which it does not make again while the
				// first is well.
				failingSince = time.Time{}
				e.giveUp(c)
			}
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
		}
	}
}

// receive passes on a message, unless this host sent it.
func (s *subscription) receive(m valkey.PubSubMessage, l resolver.FleetListener) {
	sender, domain, err := parseMessage(m.Message)
	switch {
	case err != nil:
		s.badMessages.Add(1)
	case sender != s.engine.commands.sender:
		s.messages.Add(1)
		l.Heard(domain)
	}
}

// listen sets what is told when the engine has lost its memory; nil: nothing.
func (s *subscription) listen(l resolver.FleetListener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	if s.unheard && l != nil {
		s.unheard = false
		l.Renewed()
	}
}

// sawEpoch compares the engine's epoch with the last one: another one means that the engine has lost its memory.
func (s *subscription) sawEpoch(epoch string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == s.lastEpoch {
		return
	}
	s.lastEpoch = epoch
	if s.listener == nil {
		s.unheard = true
		return
	}
	s.listener.Renewed()
}
