package admin

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// grafana is where the dashboard and the alert rules are.
const grafana = "../../../packaging/grafana"

// gathered is every metric, by the names under which Prometheus stores them.
func (f *fixture) gathered() map[string]*dto.MetricFamily {
	f.t.Helper()
	families, err := f.server.metrics.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, family := range families {
		all[family.GetName()] = family
		if family.GetType() == dto.MetricType_HISTOGRAM {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				all[family.GetName()+part] = family
			}
		}
	}
	return all
}

// value is one metric's value; the labels are label=value.
func value(t *testing.T, all map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
metric:
	for _, m := range all[name].GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		for _, l := range labels {
			if !have[l] {
				continue metric
			}
		}
		switch {
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Counter != nil:
			return m.Counter.GetValue()
		default:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	t.Errorf("there is no %s %v", name, labels)
	return -1
}

func TestMetrics(t *testing.T) {
	day := 24 * time.Hour
	f := startWeb(t, nil,
		dailyEntry(t, "a.test", "enforce", time.Hour, 30*day), dailyEntry(t, "b.test", "testing", time.Hour, 30*day),
		dailyEntry(t, "c.test", "none", time.Hour, day),
		dailyEntry(t, "d.test", "enforce", 2*day, 3*day),
		withFailure(dailyEntry(t, "e.test", "enforce", 2*day, 3*day), "no"),
		withFailure(dailyEntry(t, "f.test", "enforce", 2*day, 30*day), "no"),
		withFailure(dailyEntry(t, "g.test", "none", 2*day, 3*day), "mode none does not count as failing"),
		dailyEntry(t, "h.test", "enforce", 3*day, 2*day))
	f.query("sts", "a.test")
	f.query("sts+tlsrpt+dane", "a.test")
	f.query("sts", "x.new.test")
	f.query("sts", "x.mute.test")
	f.query("sts+defer", "x.mute.test")
	f.query("sts", "absent.test")
	f.query("sts", ".test")
	f.query("nonsense", "a.test")
	f.reload.Err = errors.New("no")
	all := f.gathered()
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{4, "policies", []string{"mode=enforce"}}, {1, "policies", []string{"mode=testing"}},
		{2, "policies", []string{"mode=none"}},
		{1, "policies_expired", nil}, {2, "policies_failing", nil}, {1, "policies_expiring", nil},
		{1, "policies_unavailable", nil},
		{8, "store_policies", nil}, {8, "store_puts_total", nil}, {0, "store_failing", nil},
		{0, "policies_unsaved", nil},
		{1, "questions_total", []string{"map=sts", "outcome=enforce"}},
		{1, "questions_total", []string{"map=sts", "outcome=no_policy"}},
		{1, "questions_total", []string{"map=sts", "outcome=fetch_failed"}},
		{1, "questions_total", []string{"map=sts", "outcome=lookup_failed"}},
		{1, "questions_total", []string{"map=sts+defer", "outcome=lookup_failed"}},
		{1, "questions_total", []string{"map=sts", "outcome=no_domain"}},
		{1, "questions_total", []string{"map=sts+dane+tlsrpt", "outcome=enforce"}},
		{1, "questions_total", []string{"map=unknown", "outcome=no_domain"}},
		{1, "discoveries_total", []string{"result=announced"}},
		{1, "discoveries_total", []string{"result=dns_timeout"}},
		{1, "fetches_total", []string{"result=status"}}, {0, "fetches_total", []string{"result=ok"}},
		{1, "dane_lookups_total", []string{"result=none"}}, {1, "answer_wait_seconds", []string{"for=dane"}},
		{4, "answer_wait_seconds", []string{"for=policy"}},
		{3, "negative_entries", nil}, {20000, "connections_limit", nil}, {7, "log_lines_dropped_total", nil},
		{0, "config_last_reload_successful", nil},
		{1, "build_info", []string{"version=v1.2.3"}}, {1, "ca_roots_loaded", nil},
	} {
		if got := value(t, all, "stsmapd_"+c.name, c.labels...); got != c.want {
			t.Errorf("%s %v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		if value(t, all, name) <= 0 {
			t.Errorf("%s is not there", name)
		}
	}
}

// TestNoDomainIsALabel: whatever Postfix or a remote DNS says, the metrics' number stays the same.
func TestNoDomainIsALabel(t *testing.T) {
	f := startWeb(t, nil, withFailure(dailyEntry(t, "trouble.secret.test", "enforce", time.Hour, 24*time.Hour),
		"reason of secret.test"))
	for _, key := range []string{
		"trouble.secret.test", "a.secret.test", "b.secret.new.test", "c.secret.mute.test", "[d.secret.test]:587",
		"\x00secret"} {
		f.query("sts+dane", key)
		f.query("secret", key)
	}
	if body := f.page("/metrics"); strings.Contains(body, "secret") {
		t.Errorf("a domain is in the metrics:\n%s", body)
	}
}

// TestNamesInPackaging: each metric that the dashboard or a rule names exists, and each of stsmapd's own that reports
// a problem is named by one of the two.
func TestNamesInPackaging(t *testing.T) {
	f := startWeb(t, nil)
	f.query("sts", "absent.test")
	all := f.gathered()
	name := regexp.MustCompile(`\b(?:stsmapd|go|process|promhttp)_[a-z0-9_]+`)
	named := map[string]bool{}
	for _, file := range []string{"dashboard.json", "alerts.yml", "alerts_test.yml"} {
		text, err := os.ReadFile(filepath.Join(grafana, file))
		if err != nil {
			t.Fatal(err)
		}
		if file == "dashboard.json" && !json.Valid(text) {
			t.Errorf("%s is no JSON", file)
		}
		found := name.FindAllString(string(text), -1)
		if len(found) < 10 {
			t.Errorf("%s: only %d names found", file, len(found))
		}
		for _, n := range found {
			named[n] = true
			if all[n] == nil {
				t.Errorf("%s names %s, which does not exist", file, n)
			}
		}
	}
	for n, family := range all {
		if strings.HasPrefix(n, "stsmapd_") && family.GetType() != dto.MetricType_HISTOGRAM && !named[n] &&
			n != "stsmapd_config_last_reload_timestamp_seconds" {
			t.Errorf("neither the dashboard nor a rule shows %s", n)
		}
	}
}

// TestDescriptions: what is described is collected, and named as Prometheus wants it.
func TestDescriptions(t *testing.T) {
	f := startWeb(t, nil)
	f.query("sts", "absent.test")
	all := f.gathered()
	for _, d := range metricDefs() {
		family := all["stsmapd_"+d.name]
		switch {
		case family == nil:
			t.Errorf("%s is described and not collected", d.name)
		case (family.GetType() == dto.MetricType_COUNTER) != strings.HasSuffix(d.name, "_total"):
			t.Errorf("%s is a %v", d.name, family.GetType())
		case !strings.HasSuffix(d.help, "."):
			t.Errorf("%s: help %q is no sentence", d.name, d.help)
		}
	}
}
