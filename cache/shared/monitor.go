package shared

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/cache/shared/guard"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// probeInterval is the time between two looks at an engine that fails, or has something to be pushed to.
	probeInterval = time.Second
	// watchInterval is the time between two looks at an engine that is well.
	watchInterval = 5 * time.Second
	// connectLimit bounds one try to connect, and what the monitor waits for an answer: more than the budget, for a
	// connection may have to be made first.
	connectLimit = time.Second
	// renewAfter is how long the engine may fail until it is connected to anew: with addresses looked up and a password
	// read again.
	renewAfter = 10 * time.Second
)

// monitor looks after the engine until Close.
func (s *Fleet) monitor() {
	defer s.disconnect()
	failingSince := s.now()
	for {
		reads, writes := s.probe()
		if s.ctx.Err() != nil {
			return
		}
		if reads == nil && writes == nil {
			failingSince = s.now()
		} else if s.now().Sub(failingSince).Abs() > renewAfter {
			failingSince = s.now()
			s.disconnect()
		}
		s.health.found(s.now(), reads, writes)
		s.flush()
		interval := watchInterval
		if s.health.failing() || s.queue.len() > 0 {
			interval = probeInterval
		}
		if !s.sleep(interval) {
			return
		}
	}
}

// wake has the monitor look at the engine now.
func (s *Fleet) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// sleep waits, but not on while something has just failed; false: it is over. An engine that fails is not looked at
// more often for being asked more often.
func (s *Fleet) sleep(interval time.Duration) bool {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	kick := s.kick
	if interval <= probeInterval {
		kick = nil
	}
	select {
	case <-timer.C:
	case <-kick:
	case <-s.ctx.Done():
		return false
	}
	return true
}

// probe asks the engine for something, within the budget, and writes something, which also tells whether it has lost
// its memory.
func (s *Fleet) probe() (reads, writes error) {
	client, err := s.connect()
	if err != nil {
		return err, err
	}
	if err := s.ping(client, connectLimit); err != nil { // a connection may have to be made first
		return err, err
	}
	if err := s.ping(client, s.budget); err != nil {
		return fmt.Errorf("no answer within %v: %w", s.budget, err), err
	}
	ctx, cancel := context.WithTimeout(s.ctx, connectLimit)
	defer cancel()
	epoch, err := s.epoch(ctx, client, rand.Text())
	if err == nil {
		s.sawEpoch(epoch)
	}
	return nil, err
}

// ping reads a key that is never there, as questions do.
func (s *Fleet) ping(client valkey.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	_, err := s.get(ctx, client, dnsname.Name{})
	return err
}

// connect returns the connection, or makes one.
func (s *Fleet) connect() (valkey.Client, error) {
	if c := s.client.Load(); c != nil {
		return *c, nil
	}
	opt, err := s.endpoint.options()
	if err != nil {
		return nil, err
	}
	s.guard.NewClient()
	opt.DialCtxFn = s.guard.Dial
	client, err := valkey.NewClient(opt)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s.client.Store(&client)
	return client, nil
}

// breachInterval is the least time between two lines about the engine's protocol.
const breachInterval = time.Minute

// violated tells that the guard has closed a connection. That may be one of many, so that the engine can be well
// otherwise.
func (s *Fleet) violated(v *guard.Violation) {
	s.health.broke(v)
	now := s.now()
	s.mu.Lock()
	tell := now.Sub(s.lastBreach).Abs() >= breachInterval
	if tell {
		s.lastBreach = now
	}
	s.mu.Unlock()
	if tell {
		s.log.Error("the shared engine broke the protocol: its connection is closed, and a new one is tried later; "+
			"continuing with the "+
			"local store; check what answers at shared.url", "event", "shared_protocol", "engine", s.endpoint.String(),
			"error", v)
	}
}

// disconnect gives up the connection, if there is one.
func (s *Fleet) disconnect() {
	if c := s.client.Load(); c != nil {
		s.giveUp(c)
	}
}

// giveUp gives up a connection, unless there is another by now. It may take some time to end while the engine hangs.
func (s *Fleet) giveUp(c *valkey.Client) {
	if s.client.CompareAndSwap(c, nil) {
		s.tasks.Go((*c).Close)
	}
}

// sawEpoch compares the engine's epoch with the last one: another one means that the engine has lost its memory.
func (s *Fleet) sawEpoch(epoch string) {
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

// listenTo sets what is called when the engine has lost its memory.
func (s *Fleet) listenTo(renewed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = renewed
	if s.unheard && renewed != nil {
		s.unheard = false
		renewed()
	}
}

// watchRetry is the time between two tries to listen to the channel.
const watchRetry = 250 * time.Millisecond

// Watch implements resolver.Fleet.
func (s *Fleet) Watch(ctx context.Context, heard func(dnsname.Name), renewed func()) {
	s.listenTo(renewed)
	defer s.listenTo(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var failingSince time.Time // zero: the last try listened
	for ctx.Err() == nil {
		if c := s.client.Load(); c != nil {
			begin := s.now()
			_ = (*c).Receive(ctx, (*c).B().Subscribe().Channel(s.channel()).Build(),
				func(m valkey.PubSubMessage) { s.receive(m, heard) })
			switch now := s.now(); {
			case now.Sub(begin).Abs() > renewAfter:
				failingSince = time.Time{}
			case failingSince.IsZero():
				failingSince = begin
			case now.Sub(failingSince).Abs() > renewAfter:
				// By RESP2 the library subscribes on a connection of its own, which it does not make again while the
				// first is well.
				failingSince = time.Time{}
				s.giveUp(c)
			}
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
		}
	}
}

func (s *Fleet) receive(m valkey.PubSubMessage, heard func(dnsname.Name)) {
	sender, domain, err := parseMessage(m.Message)
	switch {
	case err != nil:
		s.stats.badMessages.Add(1)
	case sender != s.sender:
		s.stats.messages.Add(1)
		heard(domain)
	}
}
