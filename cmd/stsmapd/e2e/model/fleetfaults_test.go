package model_test

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/model"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// oddFleet is a fleet with other ways to find, claim, share and watch.
type oddFleet struct {
	resolver.Fleet
	find  func(dnsname.Name, resolver.SharedState) resolver.SharedState
	claim func(resolver.Claim) resolver.Claim
	share func(resolver.Entry)
	watch func(resolver.FleetListener) resolver.FleetListener
}

func (f *oddFleet) Find(ctx context.Context, n dnsname.Name) resolver.SharedState {
	s := f.Fleet.Find(ctx, n)
	if f.find != nil {
		s = f.find(n, s)
	}
	return s
}

func (f *oddFleet) Claim(ctx context.Context, n dnsname.Name, a resolver.Attempt) resolver.Claim {
	c := f.Fleet.Claim(ctx, n, a)
	if f.claim != nil {
		c = f.claim(c)
	}
	return c
}

func (f *oddFleet) Share(ctx context.Context, e resolver.Entry) {
	if f.share == nil {
		f.Fleet.Share(ctx, e)
		return
	}
	f.share(e)
}

func (f *oddFleet) Watch(ctx context.Context, l resolver.FleetListener) {
	if f.watch != nil {
		l = f.watch(l)
	}
	f.Fleet.Watch(ctx, l)
}

// deaf hears nothing of what other hosts tell.
type deaf struct{ resolver.FleetListener }

func (deaf) Heard(dnsname.Name) {}

// oddly puts a fault into the fleet.
func oddly(change func(f *oddFleet)) func(model.Parts) model.Parts {
	return func(p model.Parts) model.Parts {
		f := &oddFleet{Fleet: p.Fleet}
		change(f)
		p.Fleet = f
		return p
	}
}

// failuresOfOthers is a store in which the failures that other hosts told of are those of this host.
type failuresOfOthers struct {
	resolver.Store
	mu   sync.Mutex
	told map[dnsname.Name]resolver.FetchFailures
}

func (s *failuresOfOthers) find(n dnsname.Name, t resolver.SharedState) resolver.SharedState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Entry != nil && t.Entry.Failures.Count > 0 {
		s.told[n] = t.Entry.Failures
	}
	return t
}

func (s *failuresOfOthers) Put(ctx context.Context, e resolver.Entry) error {
	s.mu.Lock()
	if f, ok := s.told[e.Domain]; ok && e.Failures.Count == 0 {
		e.Failures = f
		delete(s.told, e.Domain)
	}
	s.mu.Unlock()
	return s.Store.Put(ctx, e)
}

// twice is a store that counts each policy twice.
type twice struct{ resolver.Store }

func (s twice) Len() int { return 2 * s.Store.Len() }

func (s twice) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		for e, err := range s.Store.All(ctx) {
			for range 2 {
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

func fleetFaults() []fault {
	return []fault{
		{"another host's failure ends a live policy", oddly(func(f *oddFleet) {
			f.claim = func(c resolver.Claim) resolver.Claim {
				if len(c.Failed) > 0 {
					c.SharedState = resolver.SharedState{Ended: time.Now().UTC()}
				}
				return c
			}
		}), []string{"deleted", "answer"}},
		{"another host's failure with a live policy is adopted", func(p model.Parts) model.Parts {
			s := &failuresOfOthers{Store: p.Store, told: map[dnsname.Name]resolver.FetchFailures{}}
			p.Store = s
			return oddly(func(f *oddFleet) { f.find = s.find })(p)
		}, []string{"fetch", "refresh"}},
		{"one failure of another host keeps this one from fetching", oddly(func(f *oddFleet) {
			f.claim = func(c resolver.Claim) resolver.Claim {
				if c.State == resolver.ClaimGranted && len(c.Failed) > 0 {
					c.Release()
					c.State, c.Release, c.Fail = resolver.ClaimRefused, nil, nil
				}
				return c
			}
		}), []string{"fetch", "answer", "refresh"}},
		{"a fault of this host is told to the fleet", oddly(func(f *oddFleet) {
			f.claim = func(c resolver.Claim) resolver.Claim {
				c.Release = c.Fail
				return c
			}
		}), []string{"blame"}},
		{"a failure of this host is shared with its live policy", func(p model.Parts) model.Parts {
			return oddly(func(f *oddFleet) {
				f.share = func(e resolver.Entry) {
					e.Failures = resolver.FetchFailures{Count: 1, ID: e.ID, Reason: "no roots"}
					p.Fleet.Share(context.Background(), e)
				}
			})(p)
		}, []string{"blame"}},
		{"what other hosts tell is not heard", oddly(func(f *oddFleet) {
			f.watch = func(l resolver.FleetListener) resolver.FleetListener { return deaf{l} }
		}), []string{"news"}},
		{"what is fetched here is told to nobody", oddly(func(f *oddFleet) {
			f.share = func(resolver.Entry) {}
		}), []string{"untold"}},
		{"an old policy of the fleet counts as fetched now", oddly(func(f *oddFleet) {
			f.find = func(_ dnsname.Name, t resolver.SharedState) resolver.SharedState {
				if t.Entry != nil {
					e := *t.Entry
					e.Fetched = time.Now().UTC()
					t.Entry = &e
				}
				return t
			}
		}), []string{"answer", "idle fetch", "fetch", "at once", "shared", "deleted"}},
		{"policies are evicted from a store that is within its bounds",
			func(p model.Parts) model.Parts { p.Store = twice{p.Store}; return p }, []string{"deleted"}},
	}
}
