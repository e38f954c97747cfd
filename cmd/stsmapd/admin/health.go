package admin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// probeLimit is how long the daemon may take to answer itself.
	probeLimit = 2 * time.Second
	// probeHold is how long an answer serves for others who ask: a flood of them makes one question a second.
	probeHold = time.Second
	// probeKey is a domain that nobody can have: the question goes all the way that others go, but for the network.
	probeKey = "healthz.invalid"
)

// Prober asks the daemon a question as Postfix does, through one of its listeners. It is safe for concurrent use.
type Prober struct {
	spec string

	mu   sync.Mutex // held while a question is under way
	at   time.Time
	last error
}

// NewProber makes a prober that asks at this listener of the daemon's, inet:HOST:PORT or unix:/PATH.
func NewProber(spec string) *Prober { return &Prober{spec: spec} }

// Probe returns nil when the daemon answers within 2 s, and else why it seems not to. The answer may be one second old.
func (p *Prober) Probe(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < probeHold {
		return p.last
	}
	p.last = ask(ctx, p.spec)
	if ctx.Err() == nil {
		p.at = time.Now()
	}
	return p.last
}

func ask(ctx context.Context, spec string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("no answer within %v", probeLimit))
	defer cancel()
	client, err := socketmap.Dial(ctx, spec)
	if err != nil {
		return err
	}
	defer client.Close()
	reply, err := client.Ask(ctx, "sts", probeKey)
	if err == nil && reply.Status() != socketmap.StatusNotFound {
		err = fmt.Errorf("%s answers %v, not NOTFOUND", spec, reply)
	}
	return err
}
