package fleet

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// rate is how many questions a second the hosts are asked together about domains that they remember.
	rate = 5000
	// unknownRate is how many questions a second are for domains that no host knows.
	unknownRate = 30
	// connections is to each host.
	connections = 4
	tick        = 2 * time.Millisecond
)

// load is what became of questions in one phase of a test.
type load struct {
	lasted time.Duration
	watch  *testkit.Watch  // at the same time
	took   []time.Duration // sorted; of the questions about domains that are remembered
	waited time.Duration   // the longest wait for an answer about an unknown domain
}

func (l load) p99() time.Duration { return l.took[len(l.took)*99/100] }

// press asks the hosts at the rate above for so long, while during happens; every answer must be right.
func press(t *testing.T, hosts []*host, n *internet, domains int, duration time.Duration, during func()) load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	sum := load{lasted: duration, watch: testkit.StartWatch(t)}
	workers := len(hosts) * connections
	each := rate * int(tick) / int(time.Second) // for all connections in one tick
	for i, h := range hosts {
		for c, client := range h.askers(t, connections) {
			all.Go(func() {
				took := askOften(t, ctx, h, client, n, domains, i*connections+c, workers, each)
				mu.Lock()
				defer mu.Unlock()
				sum.took = append(sum.took, took...)
			})
		}
		asker := h.askers(t, 1)[0]
		all.Go(func() {
			longest := askUnknown(t, ctx, h, asker)
			mu.Lock()
			defer mu.Unlock()
			sum.waited = max(sum.waited, longest)
		})
	}
	during()
	all.Wait()
	slices.Sort(sum.took)
	return sum
}

// askOften is one connection's part of the questions: in turns with the others, so that together they keep the rate.
func askOften(t *testing.T, ctx context.Context, h *host, client *socketmap.Client, n *internet, domains, worker,
	workers, each int) (took []time.Duration) {
	ticker := time.NewTicker(time.Duration(workers) * tick)
	defer ticker.Stop()
	for i := worker * 7919; ; {
		for range each {
			domain := n.domain(i % domains)
			i += 104729
			asked := time.Now()
			reply, err := client.Ask(context.WithoutCancel(ctx), "sts", domain)
			took = append(took, time.Since(asked))
			if err != nil || reply.String() != answer(domain) {
				t.Errorf("%s answers %q for %s, %v", h.name, reply.String(), domain, err)
				return took
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return took
		}
	}
}

// askUnknown asks about new domains without a policy. For each of them the host asks the engine.
func askUnknown(t *testing.T, ctx context.Context, h *host, client *socketmap.Client) (longest time.Duration) {
	ticker := time.NewTicker(3 * time.Second / unknownRate)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return longest
		}
		asked := time.Now()
		domain := h.unknownDomain()
		reply, err := client.Ask(context.WithoutCancel(ctx), "sts+defer", domain)
		longest = max(longest, time.Since(asked))
		if err != nil || reply.String() != "NOTFOUND " {
			t.Errorf("%s answers %q for %s, %v", h.name, reply.String(), domain, err)
			return longest
		}
	}
}
