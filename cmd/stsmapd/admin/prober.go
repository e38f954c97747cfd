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
	// notAnswering begins the reply of a health check that failed.
	notAnswering = "stsmapd does not answer questions: "
)

// Prober checks the daemon by a question, as Postfix asks it, through one of its listeners. It is safe for concurrent
// use.
type Prober struct {
	dial func(context.Context) (*socketmap.Client, error)

	mu   sync.Mutex // held during a question
	at   time.Time
	last error
}

// NewProber returns a Prober of the daemon that dial connects to.
func NewProber(dial func(context.Context) (*socketmap.Client, error)) *Prober {
	return &Prober{dial: dial}
}

// Probe returns nil if the daemon answers within 2 s, else the reason. The result may be up to one second old.
func (p *Prober) Probe(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < probeHold {
		return p.last
	}
	p.last = p.ask(ctx)
	if ctx.Err() == nil {
		p.at = time.Now()
	}
	return p.last
}

func (p *Prober) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("no answer within %v", probeLimit))
	defer cancel()
	client, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	reply, err := client.Ask(ctx, "sts", probeKey)
	if err == nil && reply.Status() != socketmap.StatusNotFound {
		err = fmt.Errorf("the reply is %v, not NOTFOUND", reply)
	}
	return err
}
