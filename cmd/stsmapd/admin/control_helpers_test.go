package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a service with a real DNS server, store and control socket. Only its policy hosts are fakes: they would
// need port 443.
type daemon struct {
	t       *testing.T
	dns     *dnstest.Server
	hosts   *hosts
	service *resolver.Service
	server  *ControlServer
	client  *Client
	spec    string
	log     *testkit.Log
}

// hosts are policy hosts: files by domain; another domain's fetch fails.
type hosts struct {
	mu    sync.Mutex
	files map[string]string
	mute  map[string]bool // these hang until the fetch's context ends
}

func (h *hosts) serve(domain, file string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[domain] = file
}

func (h *hosts) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	h.mu.Lock()
	file, ok := h.files[domain.String()]
	mute := h.mute[domain.String()]
	h.mu.Unlock()
	if mute {
		<-ctx.Done()
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: ctx.Err()}
	}
	if !ok {
		return mtasts.Policy{}, &fetch.Error{
			Domain: domain, Kind: fetch.Unreachable, Err: errors.New("connection refused")}
	}
	p, err := mtasts.ParsePolicy([]byte(file))
	if err != nil {
		return p, &fetch.Error{Domain: domain, Kind: fetch.Invalid, Err: err}
	}
	return p, nil
}

// start starts a daemon over a store that holds these entries.
func start(t *testing.T, stored ...resolver.Entry) *daemon {
	t.Helper()
	return startOn(t, func(s resolver.Store) resolver.Store { return s }, stored...)
}

// startOn is start with something between the service and its store.
func startOn(t *testing.T, between func(resolver.Store) resolver.Store, stored ...resolver.Entry) *daemon {
	t.Helper()
	d := &daemon{
		t: t, dns: dnstest.New(t, dnstest.Config{}), hosts: &hosts{files: map[string]string{}, mute: map[string]bool{}},
		spec: "unix:" + filepath.Join(t.TempDir(), "control.sock"), log: &testkit.Log{},
	}
	log := slog.New(slog.NewTextHandler(d.log, nil))
	store, err := store.Open(filepath.Join(t.TempDir(), "policies.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range stored {
		if err := store.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	client, err := dnsclient.New(dnsclient.Config{Servers: []string{d.dns.Addr()}, Timeout: testkit.Hang})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	d.service = resolver.NewService(resolver.Options{
		DANEMemory: cache.NewDANEFindings(), Now: resolver.WallClock,
		Settings: resolver.Settings{DNS: client, Fetcher: d.hosts, Overrides: overrides(t)}, Store: between(store),
		Memory: cache.NewMemory(cache.MemoryOptions{MaxNegative: 1000, MaxPolicies: 1000}), Logger: log,
		Registerer: registry,
	})
	monitor := NewMonitor(Sources{
		Service: d.service, Store: store.Stats, Shared: func() shared.Stats { return shared.Stats{} },
		Questions: func() []tlspolicy.Count { return nil }, Conns: func() int { return 0 }, MaxConns: 100,
		Reload: func() Reload { return Reload{} }, Resolver: registry, History: history.New(), Log: log,
		Info: Info{Version: "test", PID: 1, Listen: []string{"inet:127.0.0.1:8461"}},
	})
	t.Cleanup(monitor.Close)
	d.server = NewControl(monitor, nil)
	l, err := socketmap.Listen(d.spec, socketmap.ListenOptions{Mode: 0o660})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(l) }()
	if d.client, err = NewClient(d.spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Hang)
		defer cancel()
		d.server.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
		d.service.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if strings.Contains(d.log.String(), "panic") {
			t.Errorf("a panic:\n%s", d.log)
		}
	})
	return d
}

// overrides are those of every daemon here.
func overrides(t *testing.T) *resolver.Overrides {
	t.Helper()
	mail, err := mtasts.ParsePattern("mail.partner.example")
	if err != nil {
		t.Fatal(err)
	}
	set, err := resolver.NewOverrides([]resolver.Override{
		{Domain: dnsname.MustParse("ignored.example"), Action: resolver.ActionIgnore, Reason: "ticket 1"},
		{Domain: dnsname.MustParse("partner.example"), Below: true, Action: resolver.ActionEnforce,
			MX:    []mtasts.Pattern{mail},
			Until: time.Now().Add(48 * time.Hour)},
		{Domain: dnsname.MustParse("over.example"), Action: resolver.ActionIgnore, Until: time.Now().Add(-time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// publish makes a domain announce and serve a policy.
func (d *daemon) publish(domain, id, file string) {
	name := "_mta-sts." + domain
	d.dns.Set(name, dns.TypeTXT, fmt.Sprintf("%s. 300 IN TXT \"v=STSv1; id=%s\"", name, id))
	d.hosts.serve(domain, file)
}

// mute makes a domain announce a policy whose host never answers.
func (d *daemon) mute(domain string) {
	d.publish(domain, "1", "")
	d.hosts.mu.Lock()
	defer d.hosts.mu.Unlock()
	d.hosts.mute[domain] = true
}

func file(mode, mx string, maxAge time.Duration) string {
	text := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", mode, maxAge/time.Second)
	if mx != "" {
		text += "mx: " + mx + "\n"
	}
	return text
}

// entry is a policy that was fetched so long ago.
func entry(t *testing.T, domain, mode string, age, maxAge time.Duration) resolver.Entry {
	t.Helper()
	p, err := mtasts.ParsePolicy([]byte(file(mode, "mx."+domain, maxAge)))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Second).Add(-age)
	return resolver.Entry{Domain: dnsname.MustParse(domain), ID: "1", Policy: p, Fetched: at, Checked: at, Used: at}
}

// failingEntry is the entry with a failed refresh.
func withFailures(e resolver.Entry) resolver.Entry {
	now := e.Fetched
	e.Failures = resolver.FetchFailures{
		Count: 3, ID: "1", Since: now, RetryAt: now.Add(time.Hour), Reason: "connection refused"}
	return e
}

// raw sends a request as it is and returns the answer's status and body.
func (d *daemon) raw(request string) string {
	d.t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(d.spec, "unix:"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(request)) // the server may have heard enough before its end
	if err := conn.SetReadDeadline(time.Now().Add(testkit.Hang)); err != nil {
		d.t.Fatal(err)
	}
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(conn) // the server closes
	return answer.String()
}
