package resolver

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// acquire takes one of the slots, waiting in order, but not longer than queueLimit.
func acquire(ctx context.Context, slots *semaphore.Weighted, what string) error {
	if slots.TryAcquire(1) { // it lets nobody overtake those who wait
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueLimit)
	defer cancel()
	if err := slots.Acquire(ctx, 1); err != nil {
		return &fault.Error{Kind: fault.Exhausted,
			Cure: "too many " + what + " in progress: check that the DNS resolver is fast", Err: err}
	}
	return nil
}

// slowLookup is the age from which a lookup counts as slow.
const slowLookup = 100 * time.Millisecond

// fast bounds how many lookups are busy at once. Those that the network answers soon take a processor each time that it
// does: as many of them as are asked for would queue there, and questions that memory can answer would queue behind
// them. A lookup that is slow takes no processor, but waits; it no longer counts, so that some slow nameservers do not
// hold up the lookups of all others.
type lookupLimiter struct{ slots *semaphore.Weighted }

func newLookupLimiter(most int) *lookupLimiter {
	return &lookupLimiter{semaphore.NewWeighted(int64(most))}
}

// begin waits in order for a slot. Call done when the lookup is over.
func (f *lookupLimiter) begin(ctx context.Context) (done func(), err error) {
	if err := acquire(ctx, f.slots, "lookups"); err != nil {
		return nil, err
	}
	release := func() { f.slots.Release(1) }
	slow := time.AfterFunc(slowLookup, release)
	return func() {
		if slow.Stop() {
			release()
		}
	}, nil
}
