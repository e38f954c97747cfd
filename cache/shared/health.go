package shared

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// tripAfter is how many operations in a row must fail until no more are tried: so many waits of a question's at most
// are spent on an engine that does not answer.
const tripAfter = 3

// errTripped: the engine has failed, and is not asked until the monitor finds it well again.
var errTripped = errors.New("the shared engine is failing")

// circuit is one way to use the engine.
type circuit struct {
	failures int // in a row
	open     bool
	err      error // the last failure
}

// health is what is known of the engine's state: reads and writes fail apart, as when it is out of memory or a replica
// only. One line tells when it begins to fail, one when it is well again.
type health struct {
	log  *slog.Logger
	name string // of the engine, for people

	mu     sync.Mutex
	reads  circuit
	writes circuit
	told   bool
	since  time.Time // of the last change to well
	breach error     // of the protocol, since the engine was last found to be well: why what follows fails
}

// newHealth begins with an engine that has not been reached. Nothing is told before the monitor has found something.
func newHealth(log *slog.Logger, name string) *health {
	return &health{log: log, name: name, reads: circuit{open: true}, writes: circuit{open: true}}
}

// allows reports whether a circuit may be used.
func (h *health) allows(c *circuit) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !c.open
}

// note counts what became of an operation of a question's or a fetch's. That its caller gave up says nothing of the
// engine.
func (h *health) note(c *circuit, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		c.failures = 0
		return
	}
	c.err = err
	if c.failures++; c.failures >= tripAfter {
		c.open = true
	}
	h.tell()
}

// found takes in what the monitor found.
func (h *health) found(now time.Time, reads, writes error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wasOpen := h.reads.open || h.writes.open
	if reads == nil && writes == nil {
		h.breach = nil
	}
	h.reads.set(reads)
	h.writes.set(writes)
	if wasOpen && !h.reads.open && !h.writes.open {
		h.since = now
	}
	h.tell()
}

// broke takes in that a connection was closed because of what the engine sent.
func (h *health) broke(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.breach = err
}

func (c *circuit) set(err error) {
	c.open, c.failures = err != nil, 0
	if err != nil {
		c.err = err
	}
}

// tell logs a change. Call it with mu held.
func (h *health) tell() {
	failing := h.reads.open || h.writes.open
	if failing == h.told {
		return
	}
	h.told = failing
	if !failing {
		h.log.Info("the shared engine answers: what other hosts know is known here, and what was learnt meanwhile is "+
			"pushed", "event", "shared_recovered", "engine", h.name)
		return
	}
	what, err := "cannot reach the shared engine", h.reads.err
	switch {
	case h.breach != nil: // the connection ended, whatever it was used for
		err = h.breach
	case !h.reads.open:
		what, err = "the shared engine takes no writes", h.writes.err
	}
	h.log.Error(what+"; continuing with the local store; what is learnt is kept to be pushed later; check the "+
		"engine, its memory, and shared.url", "event", "shared_failing", "engine", h.name, "error", err)
}

// failing reports whether the engine can not be asked, or takes no writes.
func (h *health) failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reads.open || h.writes.open
}

// well reports whether the engine can be used in every way, and since when.
func (h *health) well() (since time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, !h.reads.open && !h.writes.open
}
