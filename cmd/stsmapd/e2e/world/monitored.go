package world

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Monitored is a daemon with its HTTP listener.
type Monitored struct {
	*Daemon
	Metrics netip.AddrPort
}

// StartMonitored starts a daemon with the setting `metrics`, and with more settings, on a state directory.
func (w *World) StartMonitored(t *testing.T, stateDir, more string) Monitored {
	t.Helper()
	host := w.Host()
	m := Monitored{Metrics: netip.AddrPortFrom(host, 9461)}
	file := filepath.Join(t.TempDir(), "stsmapd.toml")
	text := fmt.Sprintf("metrics = %q\ncontrol = \"\"\n%s[fetch]\nca_file = %q\nallow_private_addresses = true\n",
		m.Metrics, more, w.CAFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	inet := netip.AddrPortFrom(host, 8461)
	m.Daemon = w.StartProcess(t, nil, "serve", "--config", file, "--state-dir", stateDir, "--listen",
		"inet:"+inet.String())
	m.Inet = inet
	return m
}

// URL returns the address of a page.
func (m Monitored) URL(path string) string { return "http://" + m.Metrics.String() + path }

// Get fetches a page, which must be there.
func (m Monitored) Get(t *testing.T, path string) string {
	t.Helper()
	r, err := http.Get(m.URL(path))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v\n%s", path, r.Status, err, body)
	}
	return string(body)
}

// Remember writes policies into a store before a daemon opens it.
func Remember(t *testing.T, stateDir string, entries ...resolver.Entry) {
	t.Helper()
	store, err := store.Open(filepath.Join(stateDir, "policies.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var writes errgroup.Group
	writes.SetLimit(500) // they share commits
	for _, e := range entries {
		writes.Go(func() error { return store.Put(context.Background(), e) })
	}
	if err := writes.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// FetchedPolicy returns a policy that was fetched some time ago; with a reason, its fetches have been failing since an
// hour after.
func FetchedPolicy(t *testing.T, domain, mode string, age, maxAge time.Duration, reason string) resolver.Entry {
	t.Helper()
	text := fmt.Sprintf("version: STSv1\nmode: %s\nmx: mx1.%s\nmx: *.mail.%s\nmax_age: %d\n", mode, domain, domain,
		maxAge/time.Second)
	p, err := mtasts.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Add(-age).Truncate(time.Second)
	e := resolver.Entry{Domain: dnsname.MustParse(domain), ID: "20260110T120000", Policy: p, Fetched: at, Checked: at,
		Used: at.Add(age / 2)}
	if reason != "" {
		e.Failures = resolver.FetchFailures{
			Count: 9, ID: "20260201", Since: at.Add(time.Hour),
			RetryAt: time.Now().UTC().Add(50 * time.Minute).Truncate(time.Second), Reason: reason}
	}
	return e
}
