package torture

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// Target is a daemon with a configuration file, a store and listeners, which several processes run one after the other.
type Target struct {
	*world.Daemon // the running process; nil between two processes
	StateDir      string
	Config        string // the file
	Control       string // the control socket, in the form of --control
	Address       string // of its listener
	Metrics       string // of its HTTP listener

	w     *world.World
	env   []string
	setup string // a shell command that runs first in the process; "": none
	text  string
}

// NewTarget writes the configuration of a daemon that asks the DNS server of these publishers. more is added to it:
// tables that it does not have, such as [cache] and [refresh]. An empty stateDir is a new directory. NewTarget starts
// nothing.
func NewTarget(t testing.TB, w *world.World, p *world.Publishers, stateDir, more string) *Target {
	t.Helper()
	if stateDir == "" {
		stateDir = filepath.Join(t.TempDir(), "state")
	}
	host := w.Host()
	d := &Target{
		w: w, StateDir: stateDir, Config: filepath.Join(t.TempDir(), "stsmapd.toml"),
		Control: "unix:" + world.SocketPath(t),
		Address: netip.AddrPortFrom(host, 8461).String(), Metrics: netip.AddrPortFrom(host, 9461).String(),
	}
	d.text = fmt.Sprintf("control = %q\nmetrics = %q\nlisten = [%q]\nstate_dir = %q\n", d.Control, d.Metrics,
		"inet:"+d.Address, stateDir) +
		fmt.Sprintf("[dns]\nservers = [%q]\ntimeout = \"2s\"\nattempts = 3\n", p.Resolver) +
		fmt.Sprintf("[fetch]\nca_file = %q\nallow_private_addresses = true\ntimeout = \"20s\"\n", w.CAFile) + more
	d.configure(t, d.text)
	return d
}

// configure writes another text into the configuration file.
func (d *Target) configure(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(d.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Text returns the configuration that NewTarget wrote.
func (d *Target) Text() string { return d.text }

// setEnv adds variables to the environment of the processes that start from now on.
func (d *Target) setEnv(lines ...string) { d.env = append(os.Environ(), lines...) }

// Start starts a process, waits until it is ready and returns how long that took.
func (d *Target) Start(t testing.TB) time.Duration {
	t.Helper()
	begin := time.Now()
	d.Daemon = d.w.StartProcessAfter(t, d.setup, d.env, "serve", "--config", d.Config)
	return time.Since(begin)
}

// Store returns the path of the store's file.
func (d *Target) Store() string { return filepath.Join(d.StateDir, "policies.db") }

// Forget makes the daemon forget domains, by `stsmapd cache forget`.
func (d *Target) Forget(t testing.TB, domains ...string) {
	t.Helper()
	args := append([]string{"cache", "forget", "--control", d.Control}, domains...)
	r := d.w.Command(t, nil, args...)
	for line := range strings.Lines(r.Stderr) {
		// A domain that was asked for in an outage alone, or not at all, is not known.
		if !strings.HasSuffix(line, ": nothing is known about this domain\n") {
			t.Errorf("stsmapd cache forget: %+v", r)
		}
	}
}

// Gauges returns the values of these metrics by name. Metrics with labels are not found.
func (d *Target) Gauges(names ...string) (map[string]float64, error) {
	client := http.Client{Timeout: answerLimit}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://" + d.Metrics + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, want := range names {
			if name == want {
				if found[name], err = strconv.ParseFloat(value, 64); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(found) < len(names) {
		return nil, fmt.Errorf("of the metrics %q only these are there: %v", names, found)
	}
	return found, nil
}
