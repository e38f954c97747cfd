// Package guard stands between the connections to a Valkey or Redis engine and the client library, which trusts the
// engine: by a length that is negative or large, or a reply that nothing asked for, an engine that is broken or hostile
// would end the process.
//
// A guarded connection gives the library whole frames alone, within bounds, each of which answers a command that was
// written. The first frame that is not closes the connection. The package knows what the library does with replies
// (valkey-go 1.0.79), and is stricter; it is to be read again when the library is updated. FuzzLibrary runs both
// together.
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

// Bounds of a Guard. They hold for each engine, cluster or group of sentinels, whatever its hosts say.
const (
	minPause     = time.Second      // after a host's first violation no connection is made to it for so long
	maxPause     = 10 * time.Second // the pause doubles with each violation, up to this
	dialInterval = 100 * time.Millisecond
	dialBurst    = 20 // connections at once to a host; then one in dialInterval
	maxHosts     = 256
	maxSentinels = 256
)

// Violation is an engine's breach of the protocol. Its connection is closed. The caller goes on without the engine and
// may connect again: the Guard refuses while it is too early.
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

// errTooMany is why hosts that the engine names are not connected to: the caller makes a new client, which begins with
// its own list.
var errTooMany = errors.New("more hosts than any fleet has")

// Guard makes guarded connections, and bounds how often. It is safe for concurrent use.
type Guard struct {
	told func(*Violation)
	now  func() time.Time

	mu        sync.Mutex
	hosts     map[string]host
	sentinels map[string]struct{} // that the library remembers, and never forgets
}

// host is when the next connection to a host may be made.
type host struct {
	until time.Time // none before
	pause time.Duration
	free  time.Time // when no connection of the burst counts any more
	last  error     // the reason of the last violation
}

// New returns a Guard that calls told for each violation, from the goroutine that reads the connection.
func New(told func(*Violation)) *Guard {
	return &Guard{told: told, now: time.Now, hosts: map[string]host{}, sentinels: map[string]struct{}{}}
}

// NewClient forgets the sentinels that the last client has heard of. Call it before another client is made.
func (g *Guard) NewClient() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.sentinels)
}

// Dial makes a guarded connection, by TLS where config is not nil. It is valkey.ClientOption's DialCtxFn. It fails at
// once, with the last *Violation in the error, while it is too early to connect again.
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
	return g.guarded(inner, address), nil
}

// guarded is a connection to a host behind the guard.
func (g *Guard) guarded(inner net.Conn, address string) *conn {
	return &conn{
		Conn: inner, dialogue: dialogue{named: g.named},
		violated: func(reason error) error { return g.violated(address, reason) },
	}
}

// admit reports why no connection to a host may be made now.
func (g *Guard) admit(address string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	h, known := g.hosts[address]
	if !known && len(g.hosts) >= maxHosts {
		g.forget(now)
		if len(g.hosts) >= maxHosts {
			return fmt.Errorf("not connecting to %s: %w", address, errTooMany)
		}
	}
	if wait := h.until.Sub(now); wait > 0 {
		return fmt.Errorf("not connecting to %s for another %v: %w", address, wait.Round(time.Millisecond), h.last)
	}
	if h.free.Before(now) {
		h.free = now
	}
	if h.free.Sub(now) >= dialBurst*dialInterval {
		return fmt.Errorf("not connecting to %s yet: %d connections in %v were enough", address, dialBurst,
			dialBurst*dialInterval)
	}
	h.free = h.free.Add(dialInterval)
	g.hosts[address] = h
	return nil
}

// forget drops the hosts that have nothing to wait for. Call it with mu held.
func (g *Guard) forget(now time.Time) {
	for address, h := range g.hosts {
		if h.free.Before(now) && h.until.Add(maxPause).Before(now) {
			delete(g.hosts, address)
		}
	}
}

// violated takes in a violation. The next pause is longer unless the last one ended some time ago.
func (g *Guard) violated(address string, reason error) error {
	v := &Violation{Address: address, Reason: reason}
	g.mu.Lock()
	now := g.now()
	h := g.hosts[address]
	if now.Sub(h.until) > 2*maxPause {
		h.pause = 0
	}
	h.pause = min(max(2*h.pause, minPause), maxPause)
	h.until, h.last = now.Add(h.pause), v
	g.hosts[address] = h
	g.mu.Unlock()
	g.told(v)
	return v
}

// named takes in a sentinel that another one has named.
func (g *Guard) named(address string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sentinels[address] = struct{}{}
	if len(g.sentinels) > maxSentinels {
		return fmt.Errorf("the names of %w", errTooMany)
	}
	return nil
}
