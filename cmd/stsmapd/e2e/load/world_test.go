package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

var errDead = errors.New("the network is dead")

// internet is a DNS and policy hosts in which the domains below `.policy.test` have a policy, and no other.
type internet struct {
	t      *testing.T
	policy mtasts.Policy
	delay  time.Duration // of each fetch
	dead   atomic.Bool
	gets   atomic.Int64
}

func newInternet(t *testing.T) *internet {
	p, err := mtasts.ParsePolicy(
		[]byte("version: STSv1\nmode: enforce\nmx: mx1.policy.test\nmx: *.mail.policy.test\nmax_age: 2592000\n"))
	if err != nil {
		t.Fatal(err)
	}
	return &internet{t: t, policy: p}
}

func (n *internet) TXT(_ context.Context, name string) (dnsclient.Answer[string], error) {
	switch {
	case n.dead.Load():
		return dnsclient.Answer[string]{}, errDead
	case strings.HasSuffix(name, ".policy.test"):
		return dnsclient.Answer[string]{Records: []string{"v=STSv1; id=1"}, TTL: time.Hour}, nil
	default:
		return dnsclient.Answer[string]{Denial: dnsclient.NXDomain, TTL: time.Hour}, nil
	}
}

func (n *internet) MX(context.Context, string) (dnsclient.Answer[dnsclient.MX], error) {
	return dnsclient.Answer[dnsclient.MX]{Records: []dnsclient.MX{{Preference: 10, Host: "mx1.policy.test"}}}, nil
}

func (n *internet) A(context.Context, string) (a dnsclient.Answer[netip.Addr], err error) {
	n.t.Error("unexpected A lookup")
	return a, errDead
}

func (n *internet) AAAA(context.Context, string) (a dnsclient.Answer[netip.Addr], err error) {
	n.t.Error("unexpected AAAA lookup")
	return a, errDead
}

func (n *internet) TLSA(context.Context, string) (a dnsclient.Answer[dnsclient.TLSA], err error) {
	n.t.Error("unexpected TLSA lookup")
	return a, errDead
}

func (n *internet) Fetch(_ context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	n.gets.Add(1)
	if n.dead.Load() {
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: errDead}
	}
	<-time.After(n.delay)
	return n.policy, nil
}

// openStore opens the store in dir; it is closed with the test.
func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	store, err := store.Open(filepath.Join(dir, "policies.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// fill puts n policies, fetched at that time, into the store.
func fill(t *testing.T, store *store.Store, n int, policy mtasts.Policy, fetched time.Time) {
	t.Helper()
	const writers = 1000
	failed := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := w; i < n; i += writers {
				e := resolver.Entry{Domain: withPolicy(i), ID: "1", Policy: policy, Fetched: fetched, Checked: fetched,
					Used: fetched}
				if err := store.Put(context.Background(), e); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range writers {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

func withPolicy(i int) dnsname.Name {
	return dnsname.MustParse("d" + strconv.Itoa(i) + ".policy.test")
}

// service makes a service with the memory that the daemon has by default.
func (n *internet) service(store resolver.Store) *resolver.Service {
	return resolver.NewService(resolver.Options{
		DANEMemory: cache.NewDANEFindings(), Now: resolver.WallClock,
		Settings: resolver.Settings{DNS: n, Fetcher: n},
		Store:    store,
		Memory:   cache.NewMemory(cache.MemoryOptions{}),
		Logger:   slog.New(slog.DiscardHandler),
	})
}

func outcome(s *resolver.Service, domain dnsname.Name) resolver.Outcome {
	return s.Answer(context.Background(), resolver.Question{Destination: dane.Destination{Domain: domain}}).Outcome
}

// resident is this process's memory in RAM, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscanf(after, "%d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
