package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
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
		select {
		case <-time.After(h.take):
		case <-ctx.Done():
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
// others. These are refreshed long before they expire, whether the publisher is one registrable domain or one network.
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
			pass(5 * time.Hour)
			fetched = w.now()
			for i := range 10 {
				store(fmt.Sprintf("victim%d.test", i), day, 0)
			}
			hosts := slowHosts{w, func(d string) bool { return strings.Contains(d, "slow") }, 29 * time.Second, nil}
			_, stop := w.runOn(w, resolver.Settings{DNS: w, Fetcher: hosts})
			defer stop()
			pass(20 * time.Hour)
			w.set(func() {
				for i := range 10 {
					e := w.stored[dnsname.MustParse(fmt.Sprintf("victim%d.test", i))]
					if left := e.Expires().Sub(fetched.Add(20 * time.Hour)); left < 8*time.Hour {
						t.Errorf("%s: %s has %v left, and has not been refreshed", c.why, e.Domain, left)
					}
				}
			})
		})
	}
}
