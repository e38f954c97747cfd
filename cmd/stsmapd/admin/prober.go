package admin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// probeLimit is how long the daemon may take to answer a probe.
	probeLimit = 2 * time.Second
	// probeHold is how long a result is reused: any number of health checks makes at most one question a second.
	probeHold = time.Second
	// probeKey is a name under .invalid: its question takes the way of all questions, but never reaches the network.
	probeKey = "healthz.invalid"
)

// Prober checks the daemon by a question, as Postfix asks it, through one of its listeners. It is safe for concurrent
// use.
type Prober struct {
	spec string

	mu   sync.Mutex // held during a question
	at   time.Time
	last error
}

// NewProber returns a Prober for a listener of the daemon, inet:HOST:PORT or unix:/PATH.
func NewProber(spec string) *Prober { return &Prober{spec: spec} }

// Probe returns nil if the daemon answers within 2 s, else the reason. The result may be up to one second old.
func (p *Prober) Probe(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < probeHold {
		return p.last
	}
	p.last = sendProbe(ctx, p.spec)
	if ctx.Err() == nil {
		p.at = time.Now()
	}
	return p.last
}

func sendProbe(ctx context.Context, spec string) error {
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
