package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// nowhere is a DNS and an internet: domains below .new.test announce a policy that cannot be fetched, names below
// .mute.test are not answered, and no other has a policy.
type noNetwork struct{}

func (noNetwork) TXT(_ context.Context, name string) (a dnsclient.Answer[string], err error) {
	switch {
	case strings.HasSuffix(name, ".new.test"):
		return dnsclient.Answer[string]{Records: []string{"v=STSv1; id=1"}, TTL: time.Hour}, nil
	case strings.HasSuffix(name, ".mute.test"):
		return a, &dnsclient.Error{Name: name, Type: "TXT", Kind: dnsclient.Timeout}
	}
	return dnsclient.Answer[string]{Denial: dnsclient.NXDomain, TTL: time.Hour}, nil
}

func (noNetwork) MX(_ context.Context, name string) (a dnsclient.Answer[dnsclient.MX], err error) {
	switch name {
	case "elsewhere.test":
		a.Records = []dnsclient.MX{{Preference: 10, Host: "mail.provider.test"}}
	case "partly.test":
		a.Records = []dnsclient.MX{{Preference: 20, Host: "mail.provider.test"}, {Preference: 10,
			Host: "mx.partly.test"}}
	case "gone.test":
		a.Denial = dnsclient.NXDomain
	case "null.test":
		a.Records = []dnsclient.MX{{}}
	case "mute.test":
		return a, &dnsclient.Error{Name: name, Type: "MX", Kind: dnsclient.Timeout}
	default:
		a.Records = []dnsclient.MX{{Preference: 10, Host: "mx." + name}}
	}
	return a, nil
}

func (noNetwork) A(context.Context, string) (a dnsclient.Answer[netip.Addr], err error) {
	return a, nil
}

func (noNetwork) AAAA(context.Context, string) (a dnsclient.Answer[netip.Addr], err error) {
	return a, nil
}

func (noNetwork) TLSA(context.Context, string) (a dnsclient.Answer[dnsclient.TLSA], err error) {
	return a, nil
}

func (noNetwork) Fetch(_ context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	return mtasts.Policy{}, &fetch.Error{
		Domain: domain, Kind: fetch.Refused, Err: errors.New(`status "404 <b>Not Found</b>"`)}
}

// fixture is a daemon in one process, with its HTTP side.
type fixture struct {
	t       *testing.T
	server  *WebServer
	monitor *Monitor
	service *resolver.Service
	store   *store.Store
	url     string
	spec    string // of the socketmap listener
	mail    *socketmap.Server
	reload  Reload
	shared  shared.Stats
}

// start makes a fixture whose store has these entries.
func startWeb(t *testing.T, overrides []resolver.Override, entries ...resolver.Entry) *fixture {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	f := &fixture{t: t}
	var err error
	if f.store, err = store.Open(filepath.Join(t.TempDir(), "policies.db"), log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.store.Close() })
	for _, e := range entries {
		if err := f.store.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	set, err := resolver.NewOverrides(overrides)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	f.service = resolver.NewService(resolver.Options{
		DANEMemory: cache.NewDANEFindings(), Now: resolver.WallClock,
		Settings: resolver.Settings{DNS: noNetwork{}, Fetcher: noNetwork{}, Overrides: set}, Store: f.store,
		Memory: cache.NewMemory(cache.MemoryOptions{Registerer: registry}), Logger: log, Registerer: registry,
	})
	t.Cleanup(f.service.Close)
	handler := tlspolicy.NewHandler(f.service, log)
	f.mail = &socketmap.Server{Handler: handler, Logger: log}
	l, err := socketmap.Listen("inet:127.0.0.1:0", socketmap.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.spec = "inet:" + l.Addr().String()
	ended := make(chan error, 2)
	private := socketmap.NewPrivateListener()
	go func() { ended <- f.mail.Serve(l) }()
	go func() { ended <- f.mail.Serve(private) }()
	t.Cleanup(func() { _ = f.mail.Shutdown(context.Background()); <-ended; <-ended })
	f.monitor = NewMonitor(Sources{
		Service: f.service, Store: f.store.Stats, Shared: func() shared.Stats { return f.shared },
		Questions: handler.Counts, Conns: f.mail.Conns, MaxConns: 20000,
		Reload: func() Reload { return f.reload }, Resolver: registry, History: history.New(), Log: log,
		LogDropped: func() uint64 { return 7 },
		Info: Info{Version: "v1.2.3", Started: time.Now().Add(-3 * time.Hour), Listen: []string{f.spec},
			StateDir: "/var/lib/stsmapd"},
	})
	t.Cleanup(f.monitor.Close)
	f.server = NewWeb(f.monitor, WebOptions{Host: "mail.example.test", Probe: NewProber(private.Dial)})
	f.serve()
	return f
}

func (f *fixture) serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.url = "http://" + l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(l) }()
	f.t.Cleanup(func() {
		f.server.Shutdown(context.Background())
		if err := <-served; err != nil {
			f.t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
}

// get fetches a page over the network.
func (f *fixture) get(path string) (code int, body string, header http.Header) {
	f.t.Helper()
	r, err := http.Get(f.url + path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return r.StatusCode, string(b), r.Header
}

// page is a page that must be there.
func (f *fixture) page(path string) string {
	f.t.Helper()
	code, body, _ := f.get(path)
	if code != http.StatusOK {
		f.t.Fatalf("GET %s: %d\n%s", path, code, body)
	}
	return body
}

// ask asks as Postfix does.
func (f *fixture) query(mapName, key string) socketmap.Reply {
	f.t.Helper()
	c, err := socketmap.Dial(f.t.Context(), f.spec)
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Ask(f.t.Context(), mapName, key)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply
}

// entry is a policy that was fetched some time ago.
func dailyEntry(t *testing.T, domain, mode string, age, maxAge time.Duration) resolver.Entry {
	t.Helper()
	p, err := mtasts.ParsePolicy(
		fmt.Appendf(nil, "version: STSv1\nmode: %s\nmx: mx.%s\nmax_age: %d\n", mode, domain, maxAge/time.Second))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Add(-age).Truncate(time.Second)
	return resolver.Entry{Domain: dnsname.MustParse(domain), ID: "20260101", Policy: p, Fetched: at, Checked: at,
		Used: at}
}

// failing is the entry with fetches that fail.
func withFailure(e resolver.Entry, reason string) resolver.Entry {
	e.Failures = resolver.FetchFailures{
		Count: 4, ID: "2", Since: e.Fetched.Add(time.Hour),
		RetryAt: time.Now().UTC().Add(time.Hour).Truncate(time.Second), Reason: reason}
	return e
}

// serveDirect gives one request to the server without a network, and so can send what a client would not.
func (f *fixture) serveDirect(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.server.http.Handler.ServeHTTP(w, r)
	return w
}
