package fleet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestBrokenHost: host a cannot fetch, b and c can. They lose nothing: the first contact of each domain brings its
// policy, whether a is asked first or all at the same time; and live policies are refreshed in time, by one GET for
// all hosts, of which a hears.
func TestBrokenHost(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(t *testing.T, w *world.World, c hostConfig) *host
	}{
		{"stale roots", func(t *testing.T, w *world.World, c hostConfig) *host {
			c.roots = filepath.Join(t.TempDir(), "stale.pem")
			must(t, os.WriteFile(c.roots, w.Untrusted.PEM(), 0o600))
			return startHost(t, w, c)
		}},
		{"no roots", startRootless},
		{"a proxy that refuses", func(t *testing.T, w *world.World, c hostConfig) *host {
			c.env = append(os.Environ(), "HTTPS_PROXY=http://"+netip.AddrPortFrom(w.Host(), 3128).String())
			return startHost(t, w, c)
		}},
		{"a proxy that hangs", func(t *testing.T, w *world.World, c hostConfig) *host {
			proxy, err := net.Listen("tcp", netip.AddrPortFrom(w.Host(), 3128).String()) // nobody accepts
			must(t, err)
			t.Cleanup(func() { proxy.Close() })
			c.env = append(os.Environ(), "HTTPS_PROXY=http://"+proxy.Addr().String())
			return startHost(t, w, c)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "stale roots" {
				testkit.AllOnly(t, "this fault of a host")
			}
			w := world.Open(t)
			t.Parallel()
			n := newInternet(t, w, 3*each)
			url := "redis://" + enginetest.Start(t, enginetest.Redis(t)).Addr()
			config := hostConfig{url: url, timeout: patient, stored: aged(t, n)}
			var hosts []*host
			for i, start := range []func(*testing.T, *world.World, hostConfig) *host{c.start, startHost, startHost} {
				config.name = []string{"mail-a", "mail-b", "mail-c"}[i]
				hosts = append(hosts, start(t, w, config))
			}
			loseNothing(t, n, hosts)
		})
	}
}

const (
	// each is how many policies are to be refreshed, how many domains a is asked about first, and how many all at the
	// same time.
	each = 12
	// left is how long the overdue policies in the stores live on: long enough for a fetch that hangs, and for a retry.
	left = 150 * time.Second
	// spread is more than the time over which hosts spread the refreshes of one policy.
	spread = 5 * time.Minute
)

// aged are the policies that all hosts have in their stores: half of them are overdue and about to expire, as after a
// time in which all hosts were down; the others will be due in a moment, and the hosts refresh those one after the
// other.
func aged(t *testing.T, n *internet) (entries []resolver.Entry) {
	t.Helper()
	for i := range each {
		name := n.domain(i)
		p, err := mtasts.ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: mx." + name + "\nmax_age: 86400\n"))
		must(t, err)
		now := time.Now().UTC().Truncate(time.Millisecond)
		e := resolver.Entry{Domain: dnsname.MustParse(name), ID: "1", Policy: p, Fetched: now, Used: now}
		if i%2 == 0 {
			e.Fetched = now.Add(left - p.MaxAge)
		} else {
			e.Fetched = now.Add(5*time.Second - e.NextCheck(24*time.Hour).Sub(now))
		}
		e.Checked = e.Fetched
		entries = append(entries, e)
	}
	return entries
}

// startRootless starts a host on which there is no CA root: it has read the system's while there were none.
func startRootless(t *testing.T, w *world.World, c hostConfig) *host {
	t.Helper()
	const certs = "/etc/ssl/certs"
	must(t, unix.Mount("tmpfs", certs, "tmpfs", 0, "")) // in this world alone
	defer func() { must(t, unix.Unmount(certs, unix.MNT_DETACH)) }()
	c.roots = systemRoots
	c.env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SSL_CERT_") })
	h := startHost(t, w, c)
	if h.Log.Lines("event=no_roots") == nil {
		t.Fatal("the host has roots")
	}
	return h
}

func loseNothing(t *testing.T, n *internet, hosts []*host) {
	t.Helper()
	begin := time.Now()
	ask := func(h *host, i int, want string) {
		if got := h.Ask(t, "sts", n.domain(i)); got != want {
			t.Errorf("%s answers %q for %s, want %q", h.name, got, n.domain(i), want)
		}
	}
	var all sync.WaitGroup
	for i := range each {
		all.Go(func() { // a first
			if got := hosts[0].Ask(t, "sts", n.domain(each+i)); strings.HasPrefix(got, "OK") {
				t.Errorf("the broken host answers %q", got)
			}
			ask(hosts[1], each+i, answer(n.domain(each+i)))
			ask(hosts[2], each+i, answer(n.domain(each+i)))
		})
		// All at the same time: a may hear of the policy before it has failed.
		all.Go(func() { _ = hosts[0].Ask(t, "sts", n.domain(2*each+i)) })
		all.Go(func() { ask(hosts[1], 2*each+i, answer(n.domain(2*each+i))) })
		all.Go(func() { ask(hosts[2], 2*each+i, answer(n.domain(2*each+i))) })
	}
	all.Wait()
	t.Logf("first contacts: %d policies after %v", 2*each, time.Since(begin).Round(100*time.Millisecond))
	world.Eventually(t, spread, "the live policies are refreshed", func() bool {
		for i := range each {
			for _, h := range hosts {
				ask(h, i, answer(n.domain(i)))
			}
			if n.fetched(n.domain(i)) == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("%d live policies were refreshed after %v; %d GETs in all", each, time.Since(begin).Round(time.Second),
		n.fetched(""))
	if testkit.All() {
		world.Eventually(t, world.Hang, "the old policies have expired",
			func() bool { return time.Since(begin) > left })
	} else {
		testkit.Shorter(t, "until the old policies have expired")
	}
	for i := range 3 * each {
		for _, h := range hosts { // the broken one has heard, or finds it in the engine
			ask(h, i, answer(n.domain(i)))
		}
	}
	for _, h := range hosts[1:] {
		if lost := h.Log.Lines("event=policy_expired"); lost != nil {
			t.Errorf("%s lost policies:\n%s", h.name, strings.Join(lost, "\n"))
		}
	}
	alone := 0
	for _, h := range hosts {
		alone += h.unasked(t)
	}
	if got := n.fetched(""); got < 3*each || got > 3*each+alone {
		t.Errorf("%d GETs, want %d; %d times the engine did not answer within %s: %s", got, 3*each, alone, patient,
			strings.Join(n.twice(), ", "))
	}
}

// TestDeadPublisher asks eight hosts about a domain whose policy host is dead. There are three GETs, and the other
// hosts log why they did not try.
func TestDeadPublisher(t *testing.T) {
	w := world.Open(t)
	t.Parallel()
	n := newInternet(t, w, 1)
	url := "redis://" + enginetest.Start(t, enginetest.Redis(t)).Addr()
	hosts := startHosts(t, w, url, patient)
	for i := range 5 {
		hosts = append(hosts, startHost(t, w, hostConfig{name: fmt.Sprintf("mail-%d", i), url: url, timeout: patient}))
	}
	domain := "dead." + n.suffix
	n.set(func() { n.dead[domain] = true })
	n.w.DNS.Add(fmt.Sprintf("_mta-sts.%[1]s. 1 IN TXT \"v=STSv1; id=1\"\nmta-sts.%[1]s. 300 IN A %[2]s\n", domain,
		n.address))
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() {
			// longer than a look at the TXT record holds
			for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
				if got := h.Ask(t, "sts", domain); got != "NOTFOUND " {
					t.Errorf("%s answers %q for a domain whose policy host is dead", h.name, got)
					return
				}
				<-time.After(100 * time.Millisecond)
			}
		})
	}
	all.Wait()
	alone, refused := 0, 0
	for _, h := range hosts {
		alone += h.unasked(t)
		refused += len(h.Log.Lines("not tried here: 3 hosts of the fleet"))
	}
	if got := n.fetched(domain); got < resolver.MaxAttempts || got > resolver.MaxAttempts+alone {
		t.Errorf("a dead policy host saw %d GETs, want %d; %d times the engine did not answer within %s", got,
			resolver.MaxAttempts, alone, patient)
	}
	if want := len(hosts) - resolver.MaxAttempts; refused < want-alone || refused > want {
		t.Errorf("%d hosts say that they have not tried, want %d", refused, want)
	}
	n.set(func() { n.dead[domain] = false })
	n.w.DNS.Set("_mta-sts."+domain, dns.TypeTXT, "_mta-sts."+domain+". 1 IN TXT \"v=STSv1; id=2\"")
	for _, h := range hosts {
		world.Eventually(t, world.Hang, h.name+" has the policy under a new id", func() bool {
			return h.Ask(t, "sts", domain) == answer(domain)
		})
	}
}
