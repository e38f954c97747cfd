package load

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// largeBound is MemoryHigh= of the service's unit: with the default cache.memory the process needs less.
const largeBound = 640 << 20

// large is an internet whose every policy has 64 KiB of short mx lines.
type large struct {
	*internet
	text string
}

func (l *large) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	if _, err := l.internet.Fetch(ctx, domain); err != nil {
		return mtasts.Policy{}, err
	}
	return mtasts.ParsePolicy([]byte(l.text))
}

// TestLargePolicies learns thousands of policies of 64 KiB with 8,000 mx lines each, and asks for them by two maps, as
// one message with many recipients can: memory stays within its bound, and the policies that were there are answered.
func TestLargePolicies(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // as the daemon does
	n := newInternet(t)
	l := &large{internet: n, text: largeText()}
	s := n.service(openStore(t, t.TempDir()))
	defer s.Close()
	for i := range 1000 {
		if got := outcome(s, withPolicy(i)); got != resolver.Enforce {
			t.Fatalf("%v is answered %v before", withPolicy(i), got)
		}
	}
	s.Reconfigure(resolver.Settings{DNS: n, Fetcher: l})
	policies := int64(testkit.Sample(t, "large policies", 6000, 3000))
	var next, most atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for i := next.Add(1); i <= policies; i = next.Add(1) {
				domain := dnsname.MustParse(fmt.Sprintf("large%d.policy.test", i))
				if got := outcome(s, domain); got != resolver.Enforce {
					t.Errorf("%v is answered %v", domain, got)
					return
				}
				if i%50 == 0 {
					most.Store(max(most.Load(), anonymous(t)))
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d policies of 64 KiB: %d MiB at most", policies, most.Load()>>20)
	if most.Load() > largeBound {
		t.Errorf("%d MiB of memory, the unit allows %d", most.Load()>>20, largeBound>>20)
	}
	n.dead.Store(true)
	for i := range 1000 {
		if got := outcome(s, withPolicy(i)); got != resolver.Enforce {
			t.Errorf("%v is answered %v after", withPolicy(i), got)
		}
	}
}

// largeText is a policy of 64 KiB with as many different mx lines as it has room for.
func largeText() string {
	var b strings.Builder
	b.WriteString("version: STSv1\nmode: enforce\nmax_age: 604800\n")
	for i := 0; b.Len() < 64<<10-16; i++ {
		fmt.Fprintf(&b, "mx:%s.b\n", fmt.Sprintf("x%x", i))
	}
	return b.String()
}

// anonymous is this process's memory in RAM that is not the page cache's, in bytes.
func anonymous(t *testing.T) (bytes int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
	}
	_, after, _ := strings.Cut(string(status), "RssAnon:")
	var kib int64
	if _, err := fmt.Sscanf(after, "%d kB", &kib); err != nil {
		t.Error(err)
	}
	return kib << 10
}
