package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	// known is how many policies the hosts remember in tests of faults.
	known = 300
	// phase is how long the hosts are pressed in each state of the engine.
	phase = 3 * time.Second
	// unknownLimit bounds the wait for an answer about a new domain while the engine does not answer, on a machine
	// that does nothing else: a look at the DNS, and what is left of the engine's time.
	unknownLimit = 3 * time.Second
)

// unharmed is the p99 that is allowed where without a fault it is normal, by what the machine did to the reference
// meanwhile.
func unharmed(normal time.Duration, watch *testkit.Watch) time.Duration {
	return 10*normal + 20*time.Millisecond + 2*watch.Part(0.99)
}

// TestEngineFaults makes the engine hang, kills it and restarts it empty, under load. No answer is late or wrong, and
// afterwards the hosts agree.
func TestEngineFaults(t *testing.T) {
	w := world.Open(t)
	n := newInternet(t, w, known+10)
	engine := enginetest.Start(t, enginetest.Redis(t))
	hosts := startHosts(t, w, "redis://"+engine.Addr(), "50ms")
	askEach(t, hosts, n, known)
	normal := press(t, hosts, n, known, phase, func() {})
	report(t, "no fault", normal, normal)

	report(t, "it hangs (SIGSTOP)", normal, press(t, hosts, n, known, phase, func() {
		engine.Freeze()
		learnAlone(t, hosts, n, known)
	}))
	report(t, "it goes on", normal, press(t, hosts, n, known, phase, engine.Thaw))
	converge(t, hosts, n, known)

	report(t, "killed", normal, press(t, hosts, n, known, phase, func() {
		engine.Kill()
		learnAlone(t, hosts, n, known+1)
	}))
	report(t, "restarted empty", normal, press(t, hosts, n, known, phase, engine.Restart))
	converge(t, hosts, n, known+1)
	world.Eventually(t, world.Hang, "the hosts fill the empty engine again", func() bool {
		var keys int
		_, err := fmt.Sscan(engine.Do("DBSIZE"), &keys)
		return err == nil && keys > known
	})
	oneAlert(t, hosts, 2)
}

// TestFailover kills the primary under load, so that the sentinels promote its replica.
func TestFailover(t *testing.T) {
	w := world.Open(t)
	n := newInternet(t, w, known+10)
	p := enginetest.Redis(t)
	primary := enginetest.Start(t, p)
	enginetest.Replica(t, p, primary)
	sentinels := enginetest.Sentinels(t, p, primary)
	hosts := startHosts(t, w, "redis+sentinel://"+enginetest.Addrs(sentinels)+"/"+enginetest.PrimaryName, "50ms")
	askEach(t, hosts, n, known)
	normal := press(t, hosts, n, known, phase, func() {})
	report(t, "no fault", normal, normal)
	report(t, "the primary is killed, a replica promoted", normal, press(t, hosts, n, known, 2*phase, func() {
		primary.Kill()
		learnAlone(t, hosts, n, known)
	}))
	converge(t, hosts, n, known)
}

// TestCluster tests an engine of three nodes: what one host learns, the others know.
func TestCluster(t *testing.T) {
	w := world.Open(t)
	n := newInternet(t, w, known)
	nodes := enginetest.Cluster(t, enginetest.Redis(t))
	hosts := startHosts(t, w, "redis+cluster://"+enginetest.Addrs(nodes), patient)
	askEach(t, hosts, n, known)
	fetchedOnce(t, hosts, n, known)
	for i, node := range nodes {
		if node.Do("DBSIZE") == "0" {
			t.Errorf("node %d of the cluster holds nothing", i)
		}
	}
	changes(t, hosts, n)
}

// report logs the figures of a phase, and compares them with those without a fault.
func report(t *testing.T, what string, normal, l load) {
	t.Helper()
	t.Logf("%s: %d answers in %v, p99 %v, slowest %v; a new domain waited %v at most", what, len(l.took), l.lasted,
		l.p99().Round(10*time.Microsecond), l.took[len(l.took)-1].Round(time.Millisecond),
		l.waited.Round(time.Millisecond))
	if l.p99() > unharmed(normal.p99(), l.watch) {
		t.Errorf("%s: p99 of memory hits %v, without a fault %v", what, l.p99(), normal.p99())
	}
	if l.waited > l.watch.Limit(unknownLimit) {
		t.Errorf("%s: a new domain waited %v", what, l.waited)
	}
}

// learnAlone makes the first host learn a domain that it cannot share now.
func learnAlone(t *testing.T, hosts []*host, n *internet, domain int) {
	t.Helper()
	world.Eventually(t, world.Hang, "the first host finds that the engine fails", func() bool {
		return hosts[0].Log.Lines("event=shared_failing") != nil && hosts[0].metric(t, "shared_failing") == 1
	})
	if got := hosts[0].Ask(t, "sts", n.domain(domain)); got != answer(n.domain(domain)) {
		t.Errorf("while the engine fails, %s is answered %q", n.domain(domain), got)
	}
}

// converge tests that the hosts know, without a fetch of their own, what another one learnt during the fault.
func converge(t *testing.T, hosts []*host, n *internet, domain int) {
	t.Helper()
	name := n.domain(domain)
	for _, h := range hosts[1:] {
		world.Eventually(t, world.Hang, h.name+" hears what the first host learnt meanwhile", func() bool {
			return len(h.Log.Lines("domain="+name+" ")) > 0
		})
	}
	for _, h := range hosts {
		if got := h.Ask(t, "sts", name); got != answer(name) {
			t.Errorf("%s answers %q for %s after the fault", h.name, got, name)
		}
	}
	if got := n.fetched(name); got != 1 {
		t.Errorf("%s was fetched %d times", name, got)
	}
}

// oneAlert tests that each fault, and each end of a fault, has logged one line.
func oneAlert(t *testing.T, hosts []*host, faults int) {
	t.Helper()
	for _, h := range hosts {
		world.Eventually(t, world.Hang, h.name+" finds the engine well",
			func() bool { return h.metric(t, "shared_failing") == 0 })
		if failing, well := len(h.Log.Lines("event=shared_failing")),
			len(h.Log.Lines("event=shared_recovered")); failing < faults || failing != well {
			t.Errorf("%s has %d lines about the engine failing and %d about its recovery, for %d faults", h.name,
				failing, well, faults)
		}
	}
}
