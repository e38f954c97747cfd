package fleet

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// patient is the time that the engine has in tests that count: a busy machine must not make a host act as if it were
// alone.
const patient = "1s"

// askEach asks all hosts about domains first to last, at the same time and in the same order.
func askEach(t *testing.T, hosts []*host, n *internet, domains int) {
	t.Helper()
	const connections = 64
	var all sync.WaitGroup
	for _, h := range hosts {
		for c, client := range h.askers(t, connections) {
			all.Go(func() {
				for i := c; i < domains; i += connections {
					reply, err := client.Ask(t.Context(), "sts", n.domain(i))
					if err != nil || reply.String() != answer(n.domain(i)) {
						t.Errorf("%s answers %q for %s, %v", h.name, reply.String(), n.domain(i), err)
						return
					}
				}
			})
		}
	}
	all.Wait()
}

// TestOneFetchForAll asks three daemons for 10,000 domains at the same time: there are 10,000 fetches.
func TestOneFetchForAll(t *testing.T) {
	for _, c := range []struct {
		name    string
		program func(testing.TB) enginetest.Program
		domains int
	}{
		{"redis", enginetest.Redis, 10_000},
		{"valkey", enginetest.Valkey, 2000}, // the same by another engine
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world.Open(t)
			domains := testkit.Sample(t, "domains asked of three hosts", c.domains, 2000)
			n := newInternet(t, w, domains)
			engine := enginetest.Start(t, c.program(t))
			hosts := startHosts(t, w, "valkey://"+engine.Addr(), patient)
			begin := time.Now()
			askEach(t, hosts, n, domains)
			t.Logf("%d domains asked of %d hosts in %v: %d GETs, %s keys in the engine", domains, len(hosts),
				time.Since(begin).Round(100*time.Millisecond), n.fetched(""), engine.Do("DBSIZE"))
			fetchedOnce(t, hosts, n, domains)
			changes(t, hosts, n)
			poison(t, engine, hosts, n)
			forgets(t, hosts, n)
		})
	}
}

// fetchedOnce tests that each domain was fetched once. On a machine so busy that the engine has not answered for a
// second, a host has fetched for itself, and has counted that.
func fetchedOnce(t *testing.T, hosts []*host, n *internet, domains int) {
	t.Helper()
	alone := 0
	for _, h := range hosts {
		alone += h.unasked(t)
	}
	if got := n.fetched(""); got < domains || got > domains+alone {
		t.Errorf("%d GETs, want %d; %d times the engine did not answer within %s: %s", got, domains, alone, patient,
			strings.Join(n.twice(), ", "))
	}
	if alone > domains/20 {
		t.Errorf("%d times the engine did not answer within %s", alone, patient)
	}
}

// changes tests that all hosts answer a change that one of them has seen within 2 s, on a machine that does nothing
// else, without another GET.
func changes(t *testing.T, hosts []*host, n *internet) {
	t.Helper()
	watch, slowest := testkit.StartWatch(t), time.Duration(0)
	for i := range 20 {
		domain := n.domain(i)
		before := n.fetched(domain)
		n.publish(domain, "2", "testing")
		seer := hosts[i%len(hosts)]
		seer.run(t, "cache", "refresh", domain)
		seen := time.Now()
		for _, h := range hosts {
			world.Eventually(t, world.Hang, h.name+" answers the change of "+domain,
				func() bool { return h.Ask(t, "sts", domain) == "NOTFOUND " })
		}
		slowest = max(slowest, time.Since(seen))
		if got := n.fetched(domain) - before; got != 1 {
			t.Errorf("the change of %s brought %d GETs", domain, got)
		}
	}
	t.Logf("a change was answered by all hosts after %v at most", slowest.Round(time.Millisecond))
	if limit := watch.Limit(2 * time.Second); slowest > limit {
		t.Errorf("a change was answered by all hosts after %v, want %v", slowest, limit)
	}
}

// poison: what somebody writes into the engine ends no live policy, be it garbage or a policy that was overtaken long
// ago.
func poison(t *testing.T, engine *enginetest.Engine, hosts []*host, n *internet) {
	t.Helper()
	domain, overtaken := n.domain(40), n.domain(41)
	old := engine.Do("GET", "stsmapd:{"+overtaken+"}")
	n.publish(overtaken, "2", "none")
	hosts[0].run(t, "cache", "refresh", overtaken)
	for _, h := range hosts {
		world.Eventually(t, world.Hang, h.name+" answers the change of "+overtaken,
			func() bool { return h.Ask(t, "sts", overtaken) == "NOTFOUND " })
	}
	heard := hosts[0].metric(t, `shared_messages_total{result="heard"}`)
	for name, value := range map[string]string{domain: "P 1 garbage", overtaken: old} {
		engine.Do("SET", "stsmapd:{"+name+"}", value)
		engine.Do("PUBLISH", "stsmapd:news", "1 0123456789abcdef "+name)
	}
	world.Eventually(t, world.Hang, "the garbage is found and counted", func() bool {
		found := 0
		for _, h := range hosts {
			found += h.metric(t, "shared_poisoned_total")
		}
		return found > 0 && hosts[0].metric(t, `shared_messages_total{result="heard"}`) >= heard+2
	})
	for _, h := range hosts {
		if got := h.Ask(t, "sts", domain); got != answer(domain) {
			t.Errorf("%s answers %q for a domain whose value is garbage", h.name, got)
		}
		if got := h.Ask(t, "sts", overtaken); got != "NOTFOUND " {
			t.Errorf("%s answers %q by a policy that was overtaken", h.name, got)
		}
	}
}

// forgets tests that the host that fetched a policy is shown, and that all hosts forget a policy with --fleet.
func forgets(t *testing.T, hosts []*host, n *internet) {
	t.Helper()
	domain := n.domain(30)
	from := map[string]int{}
	for _, h := range hosts {
		fields := strings.Fields(h.run(t, "cache", "list", "--domain", domain, "--json"))
		text := strings.Join(fields, " ")
		switch {
		case strings.Contains(text, `"origin":"mail-`):
			from["another"]++
		case strings.Contains(text, `"domain":"`+domain+`"`):
			from["here"]++
		}
	}
	if from["here"] != 1 || from["another"] != 2 {
		t.Errorf("%s comes from here on %d hosts, and from another on %d", domain, from["here"], from["another"])
	}
	n.w.DNS.Set("_mta-sts."+domain, txt, "")
	hosts[0].run(t, "cache", "forget", "--fleet", domain)
	for _, h := range hosts {
		world.Eventually(t, world.Hang, h.name+" has forgotten "+domain,
			func() bool { return h.Ask(t, "sts", domain) == "NOTFOUND " })
	}
	for _, h := range hosts[1:] {
		if h.Log.Lines("event=policy_forgotten") == nil {
			t.Errorf("%s says nothing of a policy that it was told to forget", h.name)
		}
	}
}
