package resolver

import "sync"

// underway counts what is under way, and lets nothing begin once it is closed.
type tracker struct {
	mu      sync.RWMutex // guards closed against running
	closed  bool
	running sync.WaitGroup
}

// begin counts one more in, until its done; false: it is closed.
func (u *tracker) begin() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.closed {
		return false
	}
	u.running.Add(1)
	return true
}

func (u *tracker) done() { u.running.Done() }

// close lets nothing more begin, and reports whether it was this call that did. What is under way goes on: see wait.
func (u *tracker) close() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	first := !u.closed
	u.closed = true
	return first
}

// wait returns when nothing is under way any more. It must be closed.
func (u *tracker) wait() { u.running.Wait() }
