package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Errors of Refresh and Forget that say something of stsmapd, not of the domain.
var (
	// ErrNotTried: too much is under way. Try again in a minute.
	ErrNotTried = errors.New("too many lookups in progress; not tried")
	// ErrClosed: the service is closed, or was closed meanwhile. Ask the next stsmapd.
	ErrClosed = errors.New("shutting down")
)

// demand is an administrator's wish that a domain's policy be fetched now. The flight that takes it says what was
// found.
type demand struct {
	taken time.Time     // by the service's clock
	found Finding       // nil after a fault
	done  chan struct{} // closed when taken and found are set
}

// demands are those that no flight has taken yet. The zero demands has none.
type demands struct {
	mu      sync.Mutex
	waiting map[dnsname.Name][]*demand
}

func (d *demands) add(domain dnsname.Name) *demand {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[dnsname.Name][]*demand{}
	}
	one := &demand{done: make(chan struct{})}
	d.waiting[domain] = append(d.waiting[domain], one)
	return one
}

// withdraw takes back a demand that nobody waits for any more.
func (d *demands) withdraw(domain dnsname.Name, one *demand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := slices.DeleteFunc(d.waiting[domain], func(other *demand) bool { return other == one })
	if len(rest) == 0 {
		delete(d.waiting, domain)
		return
	}
	d.waiting[domain] = rest
}

// take gives a domain's demands to a flight at now, which must call meet at its end.
func (d *demands) take(now time.Time, domain dnsname.Name) demanded {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := demanded(d.waiting[domain])
	delete(d.waiting, domain)
	for _, one := range all {
		one.taken = now
	}
	return all
}

// demanded are the demands that a flight has taken; an empty one demands nothing.
type demanded []*demand

func (d demanded) meet(found Finding) {
	for _, one := range d {
		one.found = found
		close(one.done)
	}
}

// maxDemandSteps is how many steps Refresh sets off at most: one that was under way already, one that takes the policy
// into memory, one that fetches; and some more, for memory may drop the policy between two of them.
const maxDemandSteps = 8

// Refresh fetches a domain's policy now, whatever its id, its backoff and the time when it is due, by the same path as
// all other fetches. It returns what is known afterwards: *All, NoPolicy, *LookupFailed, *FetchFailed or *HostFailed.
// The error is nil when the fetch succeeded, and when the DNS says that there is no policy; ErrNotTried, ErrClosed or
// ctx's; else it says what is wrong with the domain's DNS or policy host, and a live policy stays in force as ever.
func (s *Service) Refresh(ctx context.Context, domain dnsname.Name) (Finding, error) {
	d := s.demands.add(domain)
	defer s.demands.withdraw(domain, d)
	for range maxDemandSteps {
		select {
		case r := <-s.advance(domain):
			if _, closed := r.Val.(Closed); closed {
				return Closed{}, ErrClosed
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		select {
		case <-d.done:
			found, err := d.outcome()
			if faults := s.hostFaults.list(); errors.Is(err, ErrNotTried) && len(faults) > 0 {
				err = fmt.Errorf("%w: %w", err, faults[0].Err)
			}
			return found, err
		default:
		}
	}
	return nil, ErrNotTried
}

// outcome is what came of a demand that has been met.
func (d *demand) outcome() (Finding, error) {
	switch f := d.found.(type) {
	case *CachedPolicy:
		switch e := f.Entry; {
		case e.Checked.Before(d.taken):
			return f, ErrNotTried
		case e.Failures.Count > 0:
			return f, errors.New(e.Failures.Reason)
		}
		return f, nil
	case *LookupFailed:
		return f, f.Err
	case *FetchFailed:
		return f, f.Err
	case *HostFailed:
		return f, f.Err
	case NoPolicy:
		return f, nil
	case Closed:
		return f, ErrClosed
	case Busy:
		return f, fmt.Errorf("%w: %w", ErrNotTried, f.Err)
	default:
		return nil, fmt.Errorf("%w: internal fault, see stsmapd's log", ErrNotTried)
	}
}

// ErrNoFleet: there is no fleet that could forget something. An administrator configures a shared engine, or forgets
// here alone.
var ErrNoFleet = errors.New("this stsmapd shares its memory with no other host (shared.url is not set)")

// ForgetEverywhere is Forget for all hosts of the fleet. Hosts that cannot be reached meanwhile keep what they know.
// With an error of the fleet's nothing is forgotten anywhere.
func (s *Service) ForgetEverywhere(ctx context.Context, domain dnsname.Name) error {
	if _, alone := s.fleet.(noFleet); alone {
		return ErrNoFleet
	}
	if err := s.fleet.End(ctx, domain, s.now()); err != nil {
		return fmt.Errorf("the fleet cannot be told: %w", err)
	}
	_, err := s.Forget(ctx, domain)
	return err
}

// forgotten is what a flight that Forget began brings those who joined it; questions among them look again.
type forgotten struct {
	something bool // there was something to forget
	err       error
}

// Forget removes all that is known of a domain, from memory and store, and reports whether that was anything. The next
// question finds the domain as if for the first time, and until then nobody defends its mail. The error is ErrClosed,
// ctx's, or the store's: then nothing is forgotten.
func (s *Service) Forget(ctx context.Context, domain dnsname.Name) (bool, error) {
	for {
		select {
		case r := <-s.flight.DoChan(domain.String(), func() (any, error) { return s.forgetAll(domain), nil }):
			if f, ok := r.Val.(forgotten); ok {
				return f.something, f.err
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// forgetAll runs inside the domain's flight.
func (s *Service) forgetAll(domain dnsname.Name) forgotten {
	if !s.running.begin() {
		return forgotten{err: ErrClosed}
	}
	defer s.running.done()
	k, err := s.Known(s.ctx, domain)
	if err != nil {
		return forgotten{err: err}
	}
	if k.Entry != nil {
		if err := s.pending.delete(s.ctx, domain); err != nil {
			return forgotten{err: err}
		}
		s.forgetPolicy(domain)
		s.log.Info("policy forgotten by an administrator's command", "event", "policy_forgotten", "domain", domain,
			"mode", k.Entry.Policy.Mode)
	}
	a, absent := s.memory.Negative(domain)
	if absent {
		s.memory.PutNegative(k.now, domain, NoPolicy{}) // it was over long ago, and is the first to be dropped
	}
	return forgotten{something: k.Entry != nil || absent && k.now.Before(a.Expires())}
}
