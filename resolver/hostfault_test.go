package resolver_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// ailing is a world on a host that lacks something, for lookups, for fetches or for both.
type ailing struct {
	*world
	mu            sync.Mutex
	lookup, fetch error // nil: all is well
	shared        int   // what the fleet was told
}

func (a *ailing) set(lookup, fetch error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookup, a.fetch = lookup, fetch
}

func (a *ailing) lacks() (lookup, fetch error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lookup, a.fetch
}

func (a *ailing) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	answer, err := a.world.TXT(ctx, name)
	if lookup, _ := a.lacks(); lookup != nil {
		return dnsclient.Answer[string]{},
			&dnsclient.Error{Name: name, Type: "TXT", Kind: dnsclient.Network, Err: lookup}
	}
	return answer, err
}

func (a *ailing) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	policy, err := a.world.Fetch(ctx, domain)
	if _, failed := a.lacks(); failed != nil {
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.HostFault, Err: failed}
	}
	return policy, err
}

// tattle counts what the fleet would be told.
type tattle struct {
	resolver.Fleet
	a *ailing
}

func (f tattle) Share(context.Context, resolver.Entry) { f.told() }
func (f tattle) Find(context.Context, dnsname.Name) resolver.SharedState {
	return resolver.SharedState{}
}
func (f tattle) Claim(context.Context, dnsname.Name, resolver.Attempt) resolver.Claim {
	return resolver.Claim{State: resolver.ClaimGranted, Release: func() {}, Fail: f.told}
}
func (f tattle) Watch(ctx context.Context, _ resolver.FleetListener)                { <-ctx.Done() }
func (f tattle) Offer(context.Context, resolver.Entry) error                        { return nil }
func (f tattle) End(ctx context.Context, domain dnsname.Name, upTo time.Time) error { return nil }

func (f tattle) told() {
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	f.a.shared++
}

var (
	errNoFiles = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	errNoRoute = os.NewSyscallError("connect", syscall.ENETDOWN)
)

// hostCases are this host's faults, and what becomes of a first contact.
func hostCases() []struct {
	why           string
	lookup, fetch error
	want          resolver.Outcome
	cure          string
} {
	return []struct {
		why           string
		lookup, fetch error
		want          resolver.Outcome
		cure          string
	}{
		{"no descriptor for the lookup", errNoFiles, nil, resolver.Overloaded, "LimitNOFILE"},
		{"no descriptor for the fetch", nil, errNoFiles, resolver.Overloaded, "LimitNOFILE"},
		{"no network for the lookup", errNoRoute, nil, resolver.Unable, "interfaces"},
		{"no network for the fetch", nil, errNoRoute, resolver.Unable, "interfaces"},
		{"no route to the policy host", nil, &fault.Error{Kind: fault.Host,
			Cure: "no route: check this host's network interfaces and routes", Err: syscall.ENETUNREACH},
			resolver.Unable, "no route"},
		{"the proxy refuses", nil, &fault.Error{Kind: fault.Host, Cure: "check HTTPS_PROXY and the proxy",
			Err: errors.New("HTTP status 403")}, resolver.Unable, "HTTPS_PROXY"},
		{"no roots", nil, fetch.ErrNoRoots, resolver.Unable, "ca-certificates"},
	}
}

func (a *ailing) start(to resolver.Reporter) *resolver.Service {
	s := a.world.startWith(tattle{a: a})
	s.Reconfigure(resolver.Settings{DNS: a, Fetcher: a, Reporter: to})
	return s
}

// TestHostFaultOfFirstContact: it is remembered for nobody, told nobody but the administrator, and over when this
// host is mended.
func TestHostFaultOfFirstContact(t *testing.T) {
	for _, c := range hostCases() {
		synctest.Test(t, func(t *testing.T) {
			a, to := &ailing{world: newWorld(t)}, new(collector)
			a.tlsrpt = map[string][]string{"example.test": {"v=TLSRPTv1; rua=mailto:tls@example.test"}}
			a.publish("example.test", "1", body("enforce", day, "mx.example.test"))
			s := a.start(to)
			defer s.Close()
			a.set(c.lookup, c.fetch)
			for range 3 {
				v := wantOutcome(t, c.why, s, "example.test", c.want)
				if v.Reason == nil || !strings.Contains(v.Reason.Error(), c.cure) {
					t.Errorf("%s: the reason %v does not say what to mend", c.why, v.Reason)
				}
			}
			looks := 1 // at most one in 10 s where waiting mends nothing
			if c.want == resolver.Overloaded {
				looks = 3
			}
			if txts, _ := a.counts(); txts != looks {
				t.Errorf("%s: %d looks for three questions, want %d", c.why, txts, looks)
			}
			synctest.Wait()
			if len(to.take()) > 0 || a.shared > 0 || a.size() > 0 {
				t.Errorf("%s: reported, shared (%d) or stored (%d)", c.why, a.shared, a.size())
			}
			st := s.Admin().Status()
			if len(st.HostFaults) != 1 || !strings.Contains(st.HostFaults[0].String(), c.cure) {
				t.Errorf("%s: status %v", c.why, st.HostFaults)
			}
			if a.events("host_fault")+a.events("host_exhausted") != 1 ||
				a.events("fetch_failed")+a.events("lookup_failed") != 0 {
				t.Errorf("%s: log:\n%s", c.why, a.log.String())
			}
			a.set(nil, nil)
			pass(10 * time.Second)
			wantOutcome(t, c.why+", mended", s, "example.test", resolver.Enforce)
			if len(s.Admin().Status().HostFaults) > 0 || a.events("host_recovered") != 1 {
				t.Errorf("%s: mended, but status %v, log:\n%s", c.why, s.Admin().Status().HostFaults, a.log.String())
			}
		})
	}
}

// TestHostFaultKeepsLivePolicy: it is served, and the fetches that this host could not make are not held against it,
// nor tried in a loop.
func TestHostFaultKeepsLivePolicy(t *testing.T) {
	t.Parallel()
	for _, c := range hostCases() {
		synctest.Test(t, func(t *testing.T) {
			a := &ailing{world: newWorld(t)}
			a.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
			s := a.start(nil)
			stop := runUpkeep(s)
			defer stop()
			wantOutcome(t, c.why+", before", s, "example.test", resolver.Enforce)
			shared := a.shared
			a.set(c.lookup, c.fetch)
			a.publish("example.test", "2", body("enforce", 7*day, "new.example.test"))
			pass(2 * day)
			a.counts()
			pass(10 * minute)
			if _, gets := a.counts(); gets > 11 {
				t.Errorf("%s: %d fetches in 10 minutes for one domain that this host cannot fetch", c.why, gets)
			}
			v := wantOutcome(t, c.why, s, "example.test", resolver.Enforce)
			if v.Policy.Entry().Failures.Count > 0 || c.fetch != nil && a.shared > shared ||
				a.events("refresh_failing") > 0 {
				t.Errorf("%s: held against the domain: %+v, shared %d", c.why, v.Policy.Entry().Failures,
					a.shared-shared)
			}
			a.set(nil, nil)
			pass(10 * time.Second)
			ask(s, "example.test")
			pass(time.Second)
			if v := ask(s, "example.test"); v.Policy == nil || v.Policy.Entry().ID != "2" {
				t.Errorf("%s: mended, but the new policy is not there", c.why)
			}
		})
	}
}

// TestHostFaultLeavesWhatWasKnown: the backoff of an id that failed by the domain's fault stands when this host's
// fault is over.
func TestHostFaultLeavesWhatWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &ailing{world: newWorld(t)}
		a.ttl = 5 * time.Second
		a.publish("example.test", "1", "")
		s := a.start(nil)
		defer s.Close()
		wantOutcome(t, "the publisher's fault", s, "example.test", resolver.Unfetched)
		pass(6 * time.Second)
		a.set(errNoRoute, nil)
		wantOutcome(t, "then this host's", s, "example.test", resolver.Unable)
		a.set(nil, nil)
		pass(10 * time.Second)
		a.counts()
		wantOutcome(t, "the publisher's again", s, "example.test", resolver.Unfetched)
		a.want("the id is not fetched again before its time", 1, 0)
		pass(5 * minute)
		wantOutcome(t, "it is due", s, "example.test", resolver.Unfetched)
		a.want("after 5 minutes", 1, 1)
	})
}

// TestOwnLimitIsNoWordOfTheDomain: what takes longer than stsmapd lets it is not remembered.
func TestOwnLimitIsNoWordOfTheDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		w.set(func() { w.delay = 2 * minute })
		v := wantOutcome(t, "slow", s, "example.test", resolver.Overloaded)
		if v.Reason == nil || errors.Is(v.Reason, context.Canceled) {
			t.Errorf("reason %v", v.Reason)
		}
		w.set(func() { w.delay = 0 })
		wantOutcome(t, "fast again", s, "example.test", resolver.Enforce)
	})
}

// TestRefreshTellsOfHostFault: an administrator's refresh that this host cannot do says so.
func TestRefreshTellsOfHostFault(t *testing.T) {
	for _, c := range hostCases() {
		synctest.Test(t, func(t *testing.T) {
			a := &ailing{world: newWorld(t)}
			a.publish("example.test", "1", body("enforce", day, "mx.example.test"))
			s := a.start(nil)
			defer s.Close()
			for _, when := range []string{"nothing live", "a live policy"} {
				pass(time.Second)
				a.set(c.lookup, c.fetch)
				_, err := s.Admin().Refresh(t.Context(), dnsname.MustParse("example.test"))
				if when == "a live policy" && c.fetch == nil {
					if err != nil {
						t.Errorf("%s, %s: %v, though a fetch needs no TXT record then", c.why, when, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), c.cure) {
					t.Errorf("%s, %s: %v does not say what to mend", c.why, when, err)
				}
				a.set(nil, nil)
				pass(10 * time.Second)
				wantOutcome(t, c.why, s, "example.test", resolver.Enforce)
			}
		})
	}
}

// Failing implements resolver.Fleet.
func (tattle) Failing() bool { return false }
