package shared

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// probeInterval is the time between two checks of an engine that fails, or to which values wait to be pushed.
	probeInterval = time.Second
	// watchInterval is the time between two checks of an engine that is well.
	watchInterval = 5 * time.Second
	// connectLimit bounds one attempt to connect, and how long the monitor waits for an answer. It is more than the
	// budget because a connection may have to be made first.
	connectLimit = time.Second
	// renewAfter is how long the engine may fail until the connection is made again: with addresses looked up and a
	// password read again.
	renewAfter = 10 * time.Second
)

// monitor checks the engine in regular intervals and after a failure.
type monitor struct {
	engine       *engine
	queue        *queue
	subscription *subscription
}

// run checks the engine, and pushes what waits for it, until the engine is closed.
func (m *monitor) run() {
	e := m.engine
	defer e.disconnect()
	failingSince := e.now()
	for {
		reads, writes := m.probe()
		if e.ctx.Err() != nil {
			return
		}
		if reads == nil && writes == nil {
			failingSince = e.now()
		} else if e.now().Sub(failingSince).Abs() > renewAfter {
			failingSince = e.now()
			e.disconnect()
		}
		e.health.found(e.now(), reads, writes)
		m.queue.flush()
		interval := watchInterval
		if e.health.failing() || m.queue.len() > 0 {
			interval = probeInterval
		}
		if !m.sleep(interval) {
			return
		}
	}
}

// sleep waits for an interval, or until an operation has failed; false: the engine is closed. Failures do not shorten
// probeInterval, so an engine that fails is not checked more often for being used more often.
func (m *monitor) sleep(interval time.Duration) bool {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	kick := m.engine.kick
	if interval <= probeInterval {
		kick = nil
	}
	select {
	case <-timer.C:
	case <-kick:
	case <-m.engine.ctx.Done():
		return false
	}
	return true
}

// probe reads something within the budget, and writes something, which also shows whether the engine has lost its
// memory.
func (m *monitor) probe() (reads, writes error) {
	client, err := m.engine.connect()
	if err != nil {
		return err, err
	}
	if err := m.ping(client, connectLimit); err != nil { // a connection may have to be made first
		return err, err
	}
	if err := m.ping(client, m.engine.budget); err != nil {
		return fmt.Errorf("no answer within %v: %w", m.engine.budget, err), err
	}
	ctx, cancel := context.WithTimeout(m.engine.ctx, connectLimit)
	defer cancel()
	epoch, err := m.engine.commands.epoch(ctx, client, rand.Text())
	if err == nil {
		m.subscription.sawEpoch(epoch)
	}
	return nil, err
}

// ping reads a key that never exists, with the command that questions use.
func (m *monitor) ping(client valkey.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(m.engine.ctx, limit)
	defer cancel()
	_, err := m.engine.commands.get(ctx, client, dnsname.Name{})
	return err
}
