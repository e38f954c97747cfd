package shared

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/cache/shared/guard"
)

// engine is the connection to the shared engine. The monitor makes it and gives it up; all else uses it while it is
// there.
type engine struct {
	endpoint Endpoint
	budget   time.Duration // of each operation
	now      func() time.Time
	commands *commands
	health   *health
	guard    *guard.Guard
	breaches limitedLog // of the protocol

	client atomic.Pointer[valkey.Client] // nil while there is no connection
	kick   chan struct{}                 // wakes the monitor

	ctx    context.Context // of all that runs in the background; ends with close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// newEngine returns an engine that is not connected.
func newEngine(opt Options) *engine {
	ctx, cancel := context.WithCancel(context.Background())
	e := &engine{
		endpoint: opt.Endpoint, budget: opt.Budget, now: opt.Now,
		commands: newCommands(opt.Prefix, senderName(rand.Uint64())),
		health:   newHealth(opt.Logger, opt.Endpoint.String()),
		breaches: limitedLog{log: opt.Logger},
		kick:     make(chan struct{}, 1), ctx: ctx, cancel: cancel,
	}
	e.guard = guard.New(e.violated)
	return e
}

// close ends what runs in the background, and waits for it.
func (e *engine) close() {
	e.cancel()
	e.tasks.Wait()
}

// use runs an operation within the budget, unless the circuit is open, and notes its result in the engine's health.
func (e *engine) use(ctx context.Context, c *circuit, operation func(context.Context, valkey.Client) error) error {
	client := e.client.Load()
	if client == nil || !e.health.allows(c) {
		return errTripped
	}
	ctx, cancel := context.WithTimeout(ctx, e.budget)
	defer cancel()
	err := operation(ctx, *client)
	e.health.note(c, err)
	if err != nil {
		e.wake()
	}
	return err
}

// wake makes the monitor check the engine now.
func (e *engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// connect returns the connection, or makes one.
func (e *engine) connect() (valkey.Client, error) {
	if c := e.client.Load(); c != nil {
		return *c, nil
	}
	opt, err := e.endpoint.options()
	if err != nil {
		return nil, err
	}
	e.guard.NewClient()
	opt.DialCtxFn = e.guard.Dial
	client, err := valkey.NewClient(opt)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	e.client.Store(&client)
	return client, nil
}

// disconnect gives up the connection, if there is one.
func (e *engine) disconnect() {
	if c := e.client.Load(); c != nil {
		e.giveUp(c)
	}
}

// giveUp gives up a connection, unless there is another by now. While the engine hangs, closing takes some time.
func (e *engine) giveUp(c *valkey.Client) {
	if e.client.CompareAndSwap(c, nil) {
		e.tasks.Go((*c).Close)
	}
}

// violated logs that the guard has closed a connection. It may have been one of many: the engine may be well otherwise.
func (e *engine) violated(v *guard.Violation) {
	e.health.broke(v)
	e.breaches.error(e.now(), "the shared engine broke the protocol: its connection is closed, and a new one is tried "+
		"later; continuing with the local store; check what answers at shared.url",
		"event", "shared_protocol", "engine", e.endpoint.String(), "error", v)
}
