package fleet

import (
	"github.com/stsmapd/stsmapd/cache/shared"

	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// The fleet for which packaging/docs/fleet.md tells the cost.
const (
	costHosts    = 100
	costDomains  = 10_000_000
	costPolicies = 300_000
	costSeconds  = 24 * 60 * 60 // in which each policy is refreshed once, and each host meets each domain once
)

// Bounds on what is measured: those of packaging/docs/fleet.md. A figure beyond them makes that page wrong.
const (
	maxPolicyBytes  = 400
	maxFailureBytes = 300
)

// TestCost measures what a policy, a failure and an event cost in a real engine with 100 hosts on it, and prints what
// that makes for 10,000,000 domains.
func TestCost(t *testing.T) {
	world.Open(t)
	engine := enginetest.Start(t, enginetest.Redis(t))
	hosts := costFleet(t, engine)
	at := time.Now().UTC().Truncate(time.Millisecond)

	const sample = 20_000
	policyBytes := grown(t, engine, sample, func(i int) { must(t, hosts[0].Offer(t.Context(), costEntry(t, i, at))) })
	attempt := resolver.Attempt{ID: "20260101T000000", Limit: resolver.MaxAttempts}
	failureBytes := grown(t, engine, sample,
		func(i int) { hosts[0].Claim(t.Context(), costDomain(1_000_000+i), attempt).Fail() })
	t.Logf("bytes in the engine (used_memory, %d each): policy %d, failure %d", sample, policyBytes, failureBytes)

	const events = 1000
	engine.Do("CONFIG", "RESETSTAT")
	begin := time.Now()
	for i := range events { // a refresh: claim, store, release; the other hosts hear of it and read
		c := hosts[i%costHosts].Claim(t.Context(), costDomain(i), attempt)
		if c.State != resolver.ClaimGranted {
			t.Fatalf("claim %d: %+v", i, c)
		}
		hosts[i%costHosts].Share(t.Context(), costEntry(t, i, at.Add(time.Second)))
		c.Release()
	}
	want := int64(events * (costHosts - 1))
	world.Eventually(t, world.Hang, "all hosts have read what they heard of",
		func() bool { return hosts[0].heard.Load() == want })
	scripts, reads := calls(t, engine, "evalsha"), calls(t, engine, "get")-6*events // the scripts read 4, 1 and 1 keys
	t.Logf("a refresh by one of %d hosts: %.1f scripts, %.1f messages, %.1f reads", costHosts, per(scripts, events),
		per(hosts[0].heard.Load(), events), per(reads, events))
	// Each host's own look at the engine, every 5 s, is in these figures: 1 script and 3 reads.
	looks := costHosts * int64(time.Since(begin)/(5*time.Second)+1)
	if scripts > 4*events+looks || reads > (costHosts+5)*events+3*looks {
		t.Errorf("%d scripts and %d reads for %d events", scripts, reads, events)
	}

	refreshes := float64(costPolicies) / costSeconds
	t.Logf("%d hosts, %d domains, %d policies:", costHosts, costDomains, costPolicies)
	t.Logf("  memory in the engine      %d MiB", costPolicies*policyBytes>>20)
	t.Logf("  refreshes (GETs)          %.1f/s by the fleet, %.0f/s if each host were alone", refreshes,
		refreshes*costHosts)
	t.Logf("  messages delivered        %.0f/s", refreshes*per(hosts[0].heard.Load(), events))
	t.Logf("  reads after messages      %.0f/s", refreshes*per(reads, events))
	t.Logf("  scripts                   %.0f/s", refreshes*per(scripts, events))
	t.Logf("  looks at the engine       %d/s, of 1 script and 3 reads", costHosts/5)
	t.Logf("  reads for new domains     %.0f/s", float64(costDomains)*costHosts/costSeconds)
	if policyBytes > maxPolicyBytes || failureBytes > maxFailureBytes {
		t.Errorf("a policy takes %d bytes and a failure %d, packaging/docs/fleet.md says at most %d and %d",
			policyBytes, failureBytes, maxPolicyBytes, maxFailureBytes)
	}
}

// costHost is a host's end of the engine; it reads what it hears of, as a daemon does.
type costHost struct {
	*shared.Fleet
	heard *atomic.Int64 // by all hosts together
}

// costListener is a host that reads each policy of which it hears.
type costListener chan<- dnsname.Name

func (l costListener) Heard(d dnsname.Name) { l <- d }
func (costListener) Missed()                {}
func (costListener) Renewed()               {}

func costFleet(t *testing.T, engine *enginetest.Engine) []costHost {
	t.Helper()
	endpoint, err := shared.ParseEndpoint("redis://" + engine.Addr())
	must(t, err)
	var heard atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	hosts := make([]costHost, costHosts)
	for i := range hosts {
		s := shared.Open(shared.Options{
			Endpoint: endpoint, Host: fmt.Sprintf("mail-%d.example.net", i), Budget: 10 * time.Second})
		hosts[i] = costHost{s, &heard}
		news := make(chan dnsname.Name, 10_000)
		watching.Go(func() { s.Watch(ctx, costListener(news)); close(news) })
		watching.Go(func() {
			for d := range news {
				s.Find(context.Background(), d)
				heard.Add(1)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		watching.Wait()
		for _, h := range hosts {
			h.Close()
		}
	})
	world.Eventually(t, world.Hang, "all hosts listen", func() bool {
		return engine.Do("PUBSUB", "NUMSUB", "stsmapd:news") == fmt.Sprintf("stsmapd:news\n%d", costHosts)
	})
	return hosts
}

func costDomain(i int) dnsname.Name { return dnsname.MustParse(fmt.Sprintf("domain-%07d.example", i)) }

// costEntry is a policy of ordinary size: two patterns, 140 bytes.
func costEntry(t *testing.T, i int, at time.Time) resolver.Entry {
	t.Helper()
	p, err := mtasts.ParsePolicy(
		[]byte("version: STSv1\r\nmode: enforce\r\nmx: mx1.mail-provider.example\r\nmx: " +
			"*.backup.mail-provider.example\r\nmax_age: 2592000\r\n"))
	must(t, err)
	return resolver.Entry{Domain: costDomain(i), ID: "20260101T000000", Policy: p, Fetched: at, Checked: at, Used: at}
}

// grown is how many bytes the engine's memory grows by for each of n additions.
func grown(t *testing.T, engine *enginetest.Engine, n int, add func(int)) int {
	t.Helper()
	before := info(t, engine, "memory", `used_memory:(\d+)`)
	for i := range n {
		add(i)
	}
	return int(info(t, engine, "memory", `used_memory:(\d+)`)-before) / n
}

func calls(t *testing.T, engine *enginetest.Engine, command string) int64 {
	return info(t, engine, "commandstats", `cmdstat_`+command+`:calls=(\d+)`)
}

func info(t *testing.T, engine *enginetest.Engine, section, pattern string) int64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(engine.Do("INFO", section))
	if m == nil {
		t.Fatalf("INFO %s has no %s", section, pattern)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(m[1]), 10, 64)
	must(t, err)
	return n
}

func per(n int64, events int) float64 { return float64(n) / float64(events) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
