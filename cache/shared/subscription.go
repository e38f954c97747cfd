package shared

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// watchRetry is the time between two attempts to subscribe to the channel.
const watchRetry = 250 * time.Millisecond

// subscription tells the resolver what happens in the engine: another host's values, and that the engine has lost its
// memory.
type subscription struct {
	engine                *engine
	messages, badMessages atomic.Uint64 // MessageStats

	mu        sync.Mutex
	renewed   func() // nil while nobody watches
	unheard   bool   // the epoch changed while nobody watched
	lastEpoch string
}

// watch calls heard and renewed as resolver.Fleet says, until ctx or the engine ends.
func (s *subscription) watch(ctx context.Context, heard func(dnsname.Name), renewed func()) {
	s.listenTo(renewed)
	defer s.listenTo(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := s.engine
	defer context.AfterFunc(e.ctx, cancel)()
	var failingSince time.Time // zero: the last attempt listened
	for ctx.Err() == nil {
		if c := e.client.Load(); c != nil {
			begin := e.now()
			_ = (*c).Receive(ctx, (*c).B().Subscribe().Channel(e.commands.channel()).Build(),
				func(m valkey.PubSubMessage) { s.receive(m, heard) })
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
func (s *subscription) receive(m valkey.PubSubMessage, heard func(dnsname.Name)) {
	sender, domain, err := parseMessage(m.Message)
	switch {
	case err != nil:
		s.badMessages.Add(1)
	case sender != s.engine.commands.sender:
		s.messages.Add(1)
		heard(domain)
	}
}

// listenTo sets what is called when the engine has lost its memory; nil: nothing.
func (s *subscription) listenTo(renewed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = renewed
	if s.unheard && renewed != nil {
		s.unheard = false
		renewed()
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
	if s.renewed == nil {
		s.unheard = true
		return
	}
	s.renewed()
}
