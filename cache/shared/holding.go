package shared

import (
	"context"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	// claimLife is how long a claim outlives its host.
	claimLife = 6 * time.Second
	// claimProlong is the time between two prolongations of a claim.
	claimProlong = 2 * time.Second
)

// holding is a claim of this host in one of the slots.
type holding struct {
	claims *claims
	domain dnsname.Name
	slots  []string // one of which has the text
	text   string
	began  time.Time
}

// keep prolongs the claim until one of the functions that it returns is called: release frees the slot, fail leaves a
// failed attempt in it.
func (h holding) keep() (release, fail func()) {
	ctx, cancel := context.WithCancel(h.claims.engine.ctx)
	var beat *time.Timer
	var mu sync.Mutex // a beat under way ends before the claim does
	beat = time.AfterFunc(claimProlong, func() {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil && h.become(h.text, claimLife) {
			beat.Reset(claimProlong)
		}
	})
	var once sync.Once
	end := func(text string, life time.Duration) {
		once.Do(func() {
			cancel()
			mu.Lock()
			defer mu.Unlock()
			beat.Stop()
			h.become(text, life)
		})
	}
	return func() { end("", 0) }, func() {
		left := resolver.AttemptWindow - h.claims.engine.now().Sub(h.began)
		end(slot{slotFailed, h.began, h.claims.values.host}.String(),
			min(max(left, time.Millisecond), resolver.AttemptWindow))
	}
}

// become gives the claim's slot another text for a life, or frees it where the life is 0; false: the claim is lost.
// While the engine fails, the claim may still be this host's; a claim that cannot be ended ends by itself.
func (h holding) become(text string, life time.Duration) bool {
	mine := false
	e := h.claims.engine
	err := e.use(context.Background(), &e.health.writes, func(ctx context.Context, c valkey.Client) (err error) {
		mine, err = e.commands.replace(ctx, c, replacement{h.slots, h.text, text, life})
		return err
	})
	if err != nil && life > 0 {
		h.claims.unclaimed.Add(1) // the claim may end before the fetch, or the failure is not counted
	}
	return mine || err != nil
}
