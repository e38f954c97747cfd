package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// grafana is where dashboard and rules are.
const grafana = "../../../packaging/grafana"

// prometheus is a running one that scrapes one daemon each second and evaluates our rules as often.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, w *world.World, target netip.AddrPort) prometheus {
	t.Helper()
	program := world.Program(t, "prometheus")
	rules, err := filepath.Abs(filepath.Join(grafana, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs:\n  - job_name: stsmapd\n    static_configs: [{targets: [%q]}]\n", rules, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := netip.AddrPortFrom(w.Host(), 9090).String()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("prometheus: %v", err)
		}
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("log of prometheus:\n%s", text)
		}
		log.Close()
	})
	return prometheus{t, "http://" + listen}
}

// api calls Prometheus's HTTP API and decodes the answer's data.
func (p prometheus) api(path string, query url.Values, data any) error {
	r, err := http.Get(p.url + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %w: %s", r.Status, err, body)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// sample is one result of a query.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (p prometheus) query(expr string) ([]sample, error) {
	var data struct{ Result []sample }
	err := p.api("query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// dashboardQueries are the dashboard's, by panel, as Grafana sends them.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(grafana, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title],
				strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*").Replace(target.Expr))
		}
	}
	return all
}

// TestDashboardAndAlerts has a real Prometheus scrape a daemon that is asked questions of all kinds: every query of the
// dashboard brings something, every rule can be evaluated, and only those alerts are raised that there is a reason for.
func TestDashboardAndAlerts(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	promtool := world.Program(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = grafana
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	state := t.TempDir()
	world.Remember(t, state, world.FetchedPolicy(t, "bank.example.test", "enforce", 96*time.Hour, 168*time.Hour,
		"certificate has expired"))
	m := w.StartMonitored(t, state, "")
	lint := exec.Command(promtool, "check", "metrics")
	lint.Stdin = strings.NewReader(m.Get(t, "/metrics"))
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	stop := askAll(t, w, m)
	p := startPrometheus(t, w, m.Metrics)
	world.Eventually(t, world.Hang, "five scrapes", func() bool {
		got, err := p.query(`count_over_time(stsmapd_build_info[1m]) >= 5`)
		return err == nil && len(got) == 1
	})
	queries := 0
	for panel, exprs := range dashboardQueries(t) {
		for _, expr := range exprs {
			queries++
			got, err := p.query(expr)
			// The world's /proc is the machine's, where the daemon has another number: it cannot count its own memory
			// there.
			if elsewhere := strings.Contains(expr, "process_"); err != nil || len(got) == 0 && !elsewhere {
				t.Errorf("panel %q: %s: %v, %d series", panel, expr, err, len(got))
			}
		}
	}
	if queries < 40 {
		t.Errorf("only %d queries found", queries)
	}
	p.checkRules()
	if got, err := p.query(`stsmapd_policies_expiring`); err != nil || len(got) != 1 || got[0].Value[1] != "1" {
		t.Errorf("policies that expire and fail: %v, %v", got, err)
	}
	stop()
}

// checkRules waits until each rule was evaluated, and looks at what came of it.
func (p prometheus) checkRules() {
	p.t.Helper()
	type rule struct{ Name, Health, LastError, State string }
	var data struct{ Groups []struct{ Rules []rule } }
	world.Eventually(p.t, world.Hang, "the rules' evaluation", func() bool {
		err := p.api("rules", nil, &data)
		return err == nil && len(data.Groups) == 1 &&
			!slices.ContainsFunc(data.Groups[0].Rules, func(r rule) bool { return r.Health == "unknown" })
	})
	for _, r := range data.Groups[0].Rules {
		want := "inactive"
		if r.Name == "StsmapdPoliciesExpiring" {
			want = "pending"
		}
		if r.Health != "ok" || r.LastError != "" || r.State != want {
			p.t.Errorf("rule %+v, want %s", r, want)
		}
	}
	if len(data.Groups[0].Rules) < 10 {
		p.t.Errorf("only %d rules", len(data.Groups[0].Rules))
	}
}

// askAll asks a daemon all kinds of questions, known domains and new ones, until stop is called.
func askAll(t *testing.T, w *world.World, m world.Monitored) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	fine := w.Domain("fine")
	fine.Publish(t, "1", fine.EnforcedText())
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			for _, mapName := range []string{"sts", "sts+dane+tlsrpt", "nonsense"} {
				for _, key := range []string{
					fine.Name, fmt.Sprintf("new%d.example.test", i), ".example.test", "bank.example.test"} {
					if _, err := m.TryAsk(mapName, key); err != nil && ctx.Err() == nil {
						t.Errorf("asking for %s: %v", key, err)
						return
					}
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// TestProbes tests /healthz and /readyz of a daemon without a problem.
func TestProbes(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	m := w.StartMonitored(t, t.TempDir(), "")
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := m.Get(t, path); got != "ok\n" {
			t.Errorf("%s: %q", path, got)
		}
	}
}
