// Package guard checks what a Valkey or Redis engine sends before the client library reads it. The library trusts the
// engine: a negative or large length, or a reply without a command, from a broken or hostile engine would end the
// process.
//
// A guarded connection passes to the library only complete frames, within bounds, that answer a command which was
// written. It is closed at the first other frame. The package mirrors how the library (valkey-go 1.0.79) uses replies,
// and is stricter; it must be reviewed with each new version of the library. FuzzLibrary tests both together.
package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Bounds of a Guard, for each engine, cluster or group of sentinels.
const (
	minPause     = time.Second      // no connection is made to a host for this time after its first violation
	maxPause     = 10 * time.Second // the pause doubles with each violation, up to this
	dialInterval = 100 * time.Millisecond
	dialBurst    = 20 // connections to a host at once; after that one in each dialInterval
	maxHosts     = 256
	maxSentinels = 256
)

// Violation means that an engine broke the protocol and that its connection is closed. The caller should continue
// without the engine. It may connect again at any time; the Guard refuses connections that come too early.
type Violation struct {
	Address string // host:port
	Reason  error
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s broke the protocol, and its connection was closed: %v", v.Address, v.Reason)
}

// Unwrap returns the reason.
func (v *Violation) Unwrap() error { return v.Reason }

// errTooMany means that the engine has named too many hosts. The caller should make a new client, which starts with the
// configured hosts.
var errTooMany = errors.New("more hosts than any fleet has")

// Guard makes guarded connections and limits their rate. It is safe for concurrent use.
type Guard struct {
	onViolation func(*Violation)
	now         func() time.Time

	mu        sync.Mutex
	hosts     map[string]host
	sentinels map[string]struct{} // that the library knows; it never forgets one
}

// host says when the next connection to a host may be made.
type host struct {
	pausedUntil time.Time // no connection before
	pause       time.Duration
	burstEnds   time.Time // when the connections made so far no longer count
	last        error     // the reason of the last violation
}

// New returns a Guard that calls onViolation for each violation, from the goroutine that reads the connection.
func New(onViolation func(*Violation)) *Guard {
	return &Guard{onViolation: onViolation, now: time.Now, hosts: map[string]host{}, sentinels: map[string]struct{}{}}
}

// NewClient forgets the sentinels of the last client. Call it before each new client is made.
func (g *Guard) NewClient() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.sentinels)
}

// Dial makes a guarded connection, with TLS if config is not nil. It is a DialCtxFn of valkey.ClientOption. While it is
// too early to connect again, it fails at once; after a violation the error wraps the *Violation.
func (g *Guard) Dial(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	if err := g.admit(address); err != nil {
		return nil, err
	}
	var inner net.Conn
	var err error
	if config != nil {
		inner, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
	} else {
		inner, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return g.wrap(inner, address), nil
}

// wrap returns a guarded connection to a host over inner.
func (g *Guard) wrap(inner net.Conn, address string) *conn {
	return &conn{
		Conn: inner, dialogue: dialogue{addSentinel: g.addSentinel},
		recordViolation: func(reason error) error { return g.recordViolation(address, reason) },
	}
}

// admit returns nil and counts a connection if one may be made to the host now, otherwise an error with the reason.
func (g *Guard) admit(address string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	h, known := g.hosts[address]
	if !known && len(g.hosts) >= maxHosts {
		g.dropIdleHosts(now)
		if len(g.hosts) >= maxHosts {
			return fmt.Errorf("not connecting to %s: %w", address, errTooMany)
		}
	}
	if wait := h.pausedUntil.Sub(now); wait > 0 {
		return fmt.Errorf("not connecting to %s for another %v: %w", address, wait.Round(time.Millisecond), h.last)
	}
	if h.burstEnds.Before(now) {
		h.burstEnds = now
	}
	if h.burstEnds.Sub(now) >= dialBurst*dialInterval {
		return fmt.Errorf("not connecting to %s yet: the limit is %d connections in %v", address, dialBurst,
			dialBurst*dialInterval)
	}
	h.burstEnds = h.burstEnds.Add(dialInterval)
	g.hosts[address] = h
	return nil
}

// dropIdleHosts removes the hosts that need not wait any more. mu must be held.
func (g *Guard) dropIdleHosts(now time.Time) {
	for address, h := range g.hosts {
		if h.burstEnds.Before(now) && h.pausedUntil.Add(maxPause).Before(now) {
			delete(g.hosts, address)
		}
	}
}

// recordViolation records a violation and starts a pause, twice as long as the last one unless that ended 20 s ago. It
// returns the *Violation.
func (g *Guard) recordViolation(address string, reason error) error {
	v := &Violation{Address: address, Reason: reason}
	g.mu.Lock()
	now := g.now()
	h := g.hosts[address]
	if now.Sub(h.pausedUntil) > 2*maxPause {
		h.pause = 0
	}
	h.pause = min(max(2*h.pause, minPause), maxPause)
	h.pausedUntil, h.last = now.Add(h.pause), v
	g.hosts[address] = h
	g.mu.Unlock()
	g.onViolation(v)
	return v
}

// addSentinel records a sentinel that the engine has named. It fails if there are too many.
func (g *Guard) addSentinel(address string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sentinels[address] = struct{}{}
	if len(g.sentinels) > maxSentinels {
		return fmt.Errorf("sentinels: %w", errTooMany)
	}
	return nil
}
