package fleet

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// host is a stsmapd of a fleet.
type host struct {
	*world.Daemon
	name    string
	control string
	metrics string
	config  string
	w       *world.World

	unknowns atomic.Int64
}

// unknownDomain returns a new domain without a policy.
func (h *host) unknownDomain() string {
	return fmt.Sprintf("s%d.%s.unknown.test", h.unknowns.Add(1), h.name)
}

// hostConfig is the configuration of a host, as far as tests choose it. Zero values are those of a healthy host.
type hostConfig struct {
	name, url, timeout string
	roots              string   // fetch.ca_file; "": that of the World
	env                []string // nil: that of the test
	stored             []resolver.Entry
}

// systemRoots is hostConfig.roots for no fetch.ca_file.
const systemRoots = "system"

// startHosts starts three daemons that share the engine at a URL.
func startHosts(t *testing.T, w *world.World, url, timeout string) []*host {
	t.Helper()
	var hosts []*host
	for _, name := range []string{"mail-a", "mail-b", "mail-c"} {
		hosts = append(hosts, startHost(t, w, hostConfig{name: name, url: url, timeout: timeout}))
	}
	return hosts
}

func startHost(t *testing.T, w *world.World, c hostConfig) *host {
	t.Helper()
	dir := t.TempDir()
	roots := fmt.Sprintf("ca_file = %q", cmp.Or(c.roots, w.CAFile))
	if c.roots == systemRoots {
		roots = ""
	}
	seedStore(t, filepath.Join(dir, "state"), c.stored)
	h := &host{name: c.name, control: "unix:" + filepath.Join(dir, "control.sock"),
		config: filepath.Join(dir, "stsmapd.toml"), w: w}
	h.metrics = netip.AddrPortFrom(w.Host(), 9461).String()
	inet := netip.AddrPortFrom(w.Host(), 8461)
	text := fmt.Sprintf("listen = [%q]\ncontrol = %q\nmetrics = %q\nstate_dir = "+
		"%q\n[fetch]\n%s\nallow_private_addresses = true\n"+
		"[shared]\nurl = %q\nname = %q\ntimeout = %q\n", "inet:"+inet.String(), h.control, h.metrics,
		filepath.Join(dir, "state"), roots, c.url, c.name, c.timeout)
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Daemon = w.StartProcess(t, c.env, "serve", "--config", h.config)
	h.Inet = inet
	world.Eventually(t, world.Hang, c.name+" reaches the engine",
		func() bool { return h.metric(t, "shared_failing") == 0 })
	return h
}

// store writes the policy store of a host that has run before.
func seedStore(t *testing.T, dir string, entries []resolver.Entry) {
	t.Helper()
	if len(entries) == 0 {
		return
	}
	must(t, os.MkdirAll(dir, 0o700))
	b, err := store.Open(filepath.Join(dir, "policies.db"), nil)
	must(t, err)
	for _, e := range entries {
		must(t, b.Put(t.Context(), e))
	}
	must(t, b.Close())
}

// run runs a command of stsmapd's that asks the daemon, and returns what it prints.
func (h *host) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(h.w.Binary, append(args, "--config", h.config)...).CombinedOutput()
	if err != nil {
		t.Errorf("stsmapd %s on %s: %v\n%s", strings.Join(args, " "), h.name, err, out)
	}
	return string(out)
}

// metric returns the value of a metric; name includes its labels.
func (h *host) metric(t *testing.T, name string) int {
	t.Helper()
	resp, err := http.Get("http://" + h.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "stsmapd_"+name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatalf("%s has no metric %s", h.name, name)
	return 0
}

// unasked returns how often a host did without the engine because it did not answer in time.
func (h *host) unasked(t *testing.T) int {
	t.Helper()
	n := 0
	for _, name := range []string{
		`shared_claims_total{result="error"}`, `shared_writes_total{result="error"}`,
		`shared_reads_total{result="error"}`} {
		n += h.metric(t, name)
	}
	return n
}

// askers are connections to a daemon, as Postfix's SMTP clients have them.
func (h *host) askers(t *testing.T, n int) []*socketmap.Client {
	t.Helper()
	clients := make([]*socketmap.Client, n)
	for i := range clients {
		c, err := socketmap.Dial(t.Context(), "inet:"+h.Inet.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		clients[i] = c
	}
	return clients
}
