package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// slowHosts is an internet in which the policy hosts of the domains that are slow take their time.
type slowHosts struct {
	*world
	slow func(domain string) bool
	take time.Duration
	ends error // how their fetches end; nil: with the policy
}

func (h slowHosts) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	if h.slow(domain.String()) {
		if testkit.Pause(ctx, h.take) != nil {
			return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: context.Cause(ctx)}
		}
		if h.ends != nil {
			return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: h.ends}
		}
	}
	return h.world.Fetch(ctx, domain)
}

// TestTarpitLeavesRoom: 400 clients ask for ever new domains of 20 registrable names whose policy hosts say nothing for
// 30 s. Of the first contacts with other domains meanwhile, no more than 5 % wait for a later try.
func TestTarpitLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = 50 * time.Millisecond
		hosts := slowHosts{w, func(d string) bool { return strings.Contains(d, "tarpit") }, 30 * time.Second,
			errors.New("not finished within 30s")}
		s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: hosts})
		defer stop()
		const clients, contacts = 400, 100
		attack, end := context.WithCancel(t.Context())
		var attackers sync.WaitGroup
		for c := range clients {
			attackers.Go(func() {
				for i := 0; attack.Err() == nil; i++ {
					name := fmt.Sprintf("c%di%d.tarpit%d.test", c, i, c%20)
					w.publish(name, "1", "")
					ask(s, name)
				}
			})
		}
		pass(minute)
		late := 0
		for i := range contacts {
			name := fmt.Sprintf("victim%d.test", i)
			w.publish(name, "1", body("enforce", 10*day, "mx.example.test"))
			if v := ask(s, name); v.Outcome != resolver.Enforce {
				late++
			}
			pass(time.Second)
		}
		if late > contacts*5/100 {
			t.Errorf("%d of %d first contacts got no policy", late, contacts)
		}
		end()
		attackers.Wait()
	})
}

// TestSlowPublisherHoldsUpItself: 1,100 policies of one publisher, whose host answers in 29 s, are due before ten
// others, and more urgent. These are refreshed within three minutes, whether the publisher is one registrable domain or
// one network; without shares they would wait for a quarter of an hour.
func TestSlowPublisherHoldsUpItself(t *testing.T) {
	for _, c := range []struct {
		why     string
		domain  string
		network fair.Network
	}{
		{"one registrable domain", "n%d.slow.test", 0},
		{"one network", "slow%d.test", 7},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			fetched := w.now()
			store := func(name string, maxAge time.Duration, network fair.Network) {
				file := body("enforce", maxAge, "mx.example.test")
				w.publish(name, "1", file)
				p, err := mtasts.ParsePolicy([]byte(file))
				if err != nil {
					t.Fatal(err)
				}
				domain := dnsname.MustParse(name)
				w.stored[domain] = resolver.Entry{Domain: domain, ID: "1", Policy: p, Fetched: fetched,
					Checked: fetched, Used: fetched, UsedDays: 1, Network: network}
			}
			for i := range 1100 {
				store(fmt.Sprintf(c.domain, i), day, c.network)
			}
			pass(20 * time.Hour)
			fetched = w.now()
			for i := range 10 {
				store(fmt.Sprintf("victim%d.test", i), time.Hour, 0)
			}
			pass(34 * minute) // half of max_age, and a tenth of that
			begin := w.now()
			hosts := slowHosts{w, func(d string) bool { return strings.Contains(d, "slow") }, 29 * time.Second, nil}
			_, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: hosts})
			defer stop()
			pass(3 * minute)
			w.set(func() {
				for i := range 10 {
					e := w.stored[dnsname.MustParse(fmt.Sprintf("victim%d.test", i))]
					if e.Fetched.Before(begin) {
						t.Errorf("%s: %s has not been refreshed", c.why, e.Domain)
					}
				}
			})
		})
	}
}

// TestNetworkIsKnownDuringTheFetch: the network of the policy host is accounted to from the moment that the fetch knows
// it, and is kept with the policy. A quarter of the fetches is of one network, whatever the registrable domains.
func TestNetworkIsKnownDuringTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hosts := &oneNetwork{world: w}
		s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: hosts, FetchConcurrency: 16})
		defer stop()
		var all sync.WaitGroup
		for i := range 60 {
			name := fmt.Sprintf("d%d.test", i)
			w.publish(name, "1", body("enforce", 10*day, "mx.example.test"))
			all.Go(func() { ask(s, name) })
		}
		pass(time.Second)
		w.publish("other.test", "1", body("enforce", 10*day, "mx.example.test"))
		begin := time.Now()
		wantOutcome(t, "another network", s, "other.test", resolver.Enforce)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("a fetch from another network took %v", took)
		}
		all.Wait()
		if most := hosts.most.Load(); most != 4 {
			t.Errorf("%d of 16 fetches from one network at a time, want 4", most)
		}
		if e := w.stored[dnsname.MustParse("d0.test")]; e.Network != 7 {
			t.Errorf("the network is not kept: %x", e.Network)
		}
	})
}

// oneNetwork is an internet in which all policy hosts but one are in one network, and take a second to answer.
type oneNetwork struct {
	*world
	now, most atomic.Int64
}

func (h *oneNetwork) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	network := fair.Network(7)
	if domain.String() == "other.test" {
		network = 8
	}
	if err := fetch.Admit(ctx, network); err != nil {
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.HostFault, Err: err}
	}
	if network == 7 {
		h.most.Store(max(h.most.Load(), h.now.Add(1)))
		defer h.now.Add(-1)
	}
	<-time.After(time.Second)
	return h.world.Fetch(ctx, domain)
}

// TestRefreshHasLessTime: a refresh waits less for a policy host than a first contact, while it can be tried again;
// with little of max_age left it has all the time.
func TestRefreshHasLessTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("slow.test", "1", body("enforce", 10*time.Hour, "mx.example.test"))
		hosts := slowHosts{w, func(string) bool { return true }, 20 * time.Second, nil}
		s, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: hosts})
		defer stop()
		wantOutcome(t, "first contact", s, "slow.test", resolver.Enforce)
		fetched := func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.stored[dnsname.MustParse("slow.test")].Fetched
		}
		first := fetched()
		pass(7 * time.Hour)
		if !fetched().Equal(first) || w.events("refresh_failing") != 1 {
			t.Errorf("a refresh waited for 20 s, or did not begin:\n%s", w.log.String())
		}
		pass(2 * time.Hour)
		if fetched().Equal(first) {
			t.Error("no refresh has got the policy when little of its max_age was left")
		}
	})
}
