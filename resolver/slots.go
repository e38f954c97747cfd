package resolver

import (
	"context"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// acquire takes one of the slots on the account of the owners, and waits for it no longer than queueLimit. Call release
// when it is free again.
func acquire(ctx context.Context, slots *fair.Slots, owners fair.Owners, what string) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, queueLimit)
	defer cancel()
	if release, err = slots.Acquire(ctx, owners); err != nil {
		return nil, &fault.Error{Kind: fault.Exhausted,
			Cure: "too many " + what + " in progress: check that the DNS resolver is fast", Err: err}
	}
	return release, nil
}

// fetchSlot is the slot of one fetch. The network of the policy host is known only during the fetch: then the slot is
// given back, and one taken that is accounted to the network too.
type fetchSlot struct {
	slots   *fair.Slots
	owners  fair.Owners
	network fair.Network // once it is known
	free    func()       // nil: no slot
}

func (s *fetchSlot) acquire(ctx context.Context) (err error) {
	s.free, err = acquire(ctx, s.slots, s.owners, "fetches")
	return err
}

// admit is the fetch's Admission.
func (s *fetchSlot) admit(ctx context.Context, network fair.Network) error {
	s.network = network
	owners := s.owners.At(network)
	if owners == s.owners {
		return nil
	}
	s.release()
	s.owners = owners
	return s.acquire(ctx)
}

func (s *fetchSlot) release() {
	if s.free != nil {
		s.free()
		s.free = nil
	}
}

// slowLookup is the age from which a lookup counts as slow.
const slowLookup = 100 * time.Millisecond

// fast bounds how many lookups are busy at once. Those that the network answers soon take a processor each time that it
// does: as many of them as are asked for would queue there, and questions that memory can answer would queue behind
// them. A lookup that is slow takes no processor, but waits; it no longer counts, so that some slow nameservers do not
// hold up the lookups of all others. While nobody else waits, one owner may have all slots: they are free again soon.
type lookupLimiter struct{ slots *fair.Slots }

func newLookupLimiter(most int) *lookupLimiter {
	return &lookupLimiter{fair.New(most, most)}
}

// begin waits for a slot. Call done when the lookup is over.
func (f *lookupLimiter) begin(ctx context.Context, owners fair.Owners) (done func(), err error) {
	release, err := acquire(ctx, f.slots, owners, "lookups")
	if err != nil {
		return nil, err
	}
	slow := time.AfterFunc(slowLookup, release)
	return func() {
		if slow.Stop() {
			release()
		}
	}, nil
}
