package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// problemCase is a state of the daemon that is one problem.
type problemCase struct {
	id     string
	change func(*observation)
	// what the expression of the alert rule has: its metric, its bounds, and its time
	rule []string
}

func over(limit any) string { return fmt.Sprintf("> %v", limit) }

func countsOf(c history.Counts) func(*observation) {
	return func(s *observation) { s.counted = func(time.Duration) history.Counts { return c } }
}

func problemCases() []problemCase {
	return []problemCase{
		{"store_failing", func(s *observation) { s.activity.Failing = true },
			[]string{"stsmapd_store_failing", "== 1"}},
		{"store_failing", func(s *observation) { s.stuck = maxStuck },
			[]string{"stsmapd_policies_unsaved", over(0), "increase(stsmapd_store_commits_total", "[5m]", "== 0"}},
		{"no_roots", func(s *observation) { s.activity.NoRoots = true },
			[]string{"stsmapd_ca_roots_loaded", "== 0"}},
		{"dns_dead", func(s *observation) {
			s.faults = []resolver.HostFault{{Kind: fault.Host, Work: "look up domains in the DNS",
				Err: errors.New("no")}}
		}, []string{"stsmapd_dns_failing", "== 1"}},
		{"host_fault", func(s *observation) {
			s.faults = []resolver.HostFault{{Kind: fault.Host, Work: "fetch policies", Err: errors.New("no route")}}
		}, []string{"stsmapd_host_faults_total", over(0)}},
		{"mail_unprotected", countsOf(history.Counts{"answer:lookup_failed": 30, "answer:enforce": 400,
			unprotectedCount: 30}), []string{`outcome="lookup_failed",map!~".*defer.*"`, "[15m]", over(minUnprotected),
			over(unprotectedShare)}},
		{"dane_unknown", countsOf(history.Counts{"answer:dane_unknown": 4}),
			[]string{`outcome="dane_unknown"`, "[15m]", over(minDANEUnknown)}},
		{"overloaded", countsOf(history.Counts{"answer:overloaded": 11}),
			[]string{`outcome="overloaded"`, "[10m]", over(minOverloaded)}},
		{"dns_failing", countsOf(history.Counts{"lookup:dns_timeout": 21, "lookup:no_record": 50}),
			[]string{`stsmapd_discoveries_total`, "[10m]", over(minDNSFailures), over(dnsFailureShare)}},
		{"fetches_failing", countsOf(history.Counts{"fetch:unreachable": 21, "fetch:ok": 20}),
			[]string{`stsmapd_fetches_total`, "[30m]", over(minFetchFailures), over(fetchFailShare)}},
		{"store_damaged", countsOf(history.Counts{damagedCount: 1}),
			[]string{"stsmapd_store_heals_total", "stsmapd_store_corrupt_records_total", "[1h]", over(0)}},
		{"shared_poisoned", countsOf(history.Counts{poisonedCount: 1}),
			[]string{"stsmapd_shared_poisoned_total", "[1h]", over(0)}},
		{"reports_dropped", countsOf(history.Counts{"reports_dropped": 1}),
			[]string{`stsmapd_tlsrpt_reports_total`, `result="dropped"`, "[1h]", over(0)}},
		{"reload_failed", func(s *observation) { s.reload.Err = errors.New("stsmapd.toml:3: no") },
			[]string{"stsmapd_config_last_reload_successful", "== 0"}},
		{"policies_expiring", func(s *observation) { s.survey.expiring = 1 },
			[]string{"stsmapd_policies_expiring", over(0)}},
		{"refreshes_failing", func(s *observation) { s.survey.failing = 11 },
			[]string{"stsmapd_policies_failing", over(minRefreshFail), over(refreshFailShare)}},
		{"policies_unreadable", func(s *observation) { s.survey.unreadable = 2 },
			[]string{"stsmapd_policies_unreadable", over(0)}},
		{"refreshes_overdue", func(s *observation) { s.survey.status.Overdue = 1001 },
			[]string{"stsmapd_refreshes_overdue", over(maxOverdue)}},
		{"connections_near_limit", func(s *observation) { s.conns = 81 },
			[]string{"stsmapd_connections{", "stsmapd_connections_limit", over(connsWarnShare)}},
		{"shared_failing", func(s *observation) { s.shared = shared.Stats{Failing: true} },
			[]string{"stsmapd_shared_failing", "== 1"}},
	}
}

// shown is what a daemon says of its problems in one of its forms: the ids, or the texts.
type shown map[string]string

// forms reads every form in which the daemon shows its problems.
func forms(t *testing.T, f *fixture) (all map[string]shown, s Status) {
	t.Helper()
	w := httptest.NewRecorder()
	NewControl(f.monitor, nil).routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/status", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	all = map[string]shown{"JSON": {}, "text": {}, "page": {}, "readyz": {}}
	for _, p := range s.Problems {
		all["JSON"][p.ID] = p.Text
	}
	var text bytes.Buffer
	if err := s.Print(&text, time.Now()); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(text.String()), " ")
	body := f.page("/")
	page := pageText(body)
	code, ready, _ := f.get("/readyz")
	if code != http.StatusOK {
		t.Errorf("readyz: %d", code)
	}
	for _, p := range s.Problems {
		if strings.Contains(words, "problem "+p.Text) {
			all["text"][p.ID] = p.Text
		}
		if strings.Contains(page, ": "+pageText(string(shortText(p.Text)))) {
			all["page"][p.ID] = p.Text
		}
		if strings.Contains(ready, "\n"+p.ID+": "+p.Text) {
			all["readyz"][p.ID] = p.Text
		}
	}
	for form, n := range map[string]int{"text": strings.Count(text.String(), "\n  problem  "),
		"page": strings.Count(body, `id="problem-`), "readyz": strings.Count(ready, "\n") - 1} {
		if n != len(s.Problems) {
			t.Errorf("%s shows %d problems, want %d:\n%s\n%s", form, n, len(s.Problems), words, ready)
		}
	}
	for form, has := range map[string]bool{"page": strings.Contains(body,
		`<section class="health `+string(s.Health)+`"`),
		"text": strings.Contains(words, "health "+string(s.Health))} {
		if !has {
			t.Errorf("%s does not say %s", form, s.Health)
		}
	}
	return all, s
}

// pageText returns the text of HTML.
func pageText(source string) string {
	return html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(source, ""))
}

// TestProblemsAgree: each problem, and no other, is in the text of status, its JSON, the page and the text of /readyz,
// with the same words, and has an alert rule with its severity and its bounds; each rule is a problem's.
func TestProblemsAgree(t *testing.T) {
	f := startWeb(t, nil)
	f.server.Ready(true)
	rules := alertRules(t)
	ruled := map[string]bool{"StsmapdDown": true, // the daemon cannot tell
		"StsmapdSlow": true} // a histogram of Prometheus
	cases := append(problemCases(), problemCase{id: ""})
	for _, c := range cases {
		f.monitor.surveyor.last = &survey{at: time.Now(), took: time.Minute,
			live: map[mtasts.Mode]int{mtasts.ModeEnforce: 100}}
		f.monitor.look = func(v *survey) observation {
			at := *v
			s := observation{maxConns: 100, survey: &at, counted: func(time.Duration) history.Counts { return nil }}
			if c.change != nil {
				c.change(&s)
			}
			return s
		}
		all, s := forms(t, f)
		for form, problems := range all {
			if c.id != "" && (len(problems) != 1 || problems[c.id] == "") || c.id == "" && len(problems) != 0 {
				t.Errorf("%s shows %v, want %q", form, problems, c.id)
			}
		}
		if c.id == "" {
			if s.Health != Healthy || s.Reason != "" {
				t.Errorf("without problems: %s, %q", s.Health, s.Reason)
			}
			continue
		}
		p := s.Problems[0]
		if s.Health != p.Severity || s.Reason != p.Text || strings.HasSuffix(p.Text, ".") {
			t.Errorf("%+v is %s: %s", p, s.Health, s.Reason)
		}
		rule, ok := rules[p.Alert]
		if !ok {
			t.Errorf("%s: there is no rule %q", c.id, p.Alert)
			continue
		}
		ruled[p.Alert] = true
		severity := map[Health]string{Failing: "critical", Degraded: "warning"}[p.Severity]
		for _, part := range append(c.rule, "severity: "+severity) {
			if !strings.Contains(rule, part) {
				t.Errorf("%s: rule %s does not say %q:\n%s", c.id, p.Alert, part, rule)
			}
		}
	}
	for name := range rules {
		if !ruled[name] {
			t.Errorf("rule %s is no problem that status and page show", name)
		}
	}
	for _, k := range problemKinds() {
		if !slices.ContainsFunc(cases, func(c problemCase) bool { return c.id == k.id }) {
			t.Errorf("%s is not tested", k.id)
		}
	}
}

// TestStuckDisk: policies that wait are no problem while the disk writes, however many wait all the time.
func TestStuckDisk(t *testing.T) {
	var d diskWatch
	at := func(minutes int) time.Time { return time.Unix(0, 0).Add(time.Duration(minutes) * time.Minute) }
	for minute, c := range []struct {
		unsaved int
		commits uint64
		stuck   int // minutes
	}{{0, 5, 0}, {3, 6, 0}, {3, 9, 0}, {3, 9, 0}, {4, 9, 1}, {9, 9, 2}, {9, 10, 0}, {9, 10, 0}, {9, 10, 1}, {0, 10,
		0}} {
		d.note(at(minute), c.unsaved, c.commits)
		if got := d.stuck(at(minute)); got != time.Duration(c.stuck)*time.Minute {
			t.Errorf("minute %d: stuck for %v, want %d min", minute, got, c.stuck)
		}
	}
}

// alertRules returns the alert rules that ship, by name.
func alertRules(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(grafana, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]string{}
	for _, part := range strings.Split(string(text), "- alert: ")[1:] {
		name, rule, _ := strings.Cut(part, "\n")
		rules[name] = rule
	}
	if len(rules) < 15 {
		t.Fatalf("only %d rules found", len(rules))
	}
	return rules
}

// TestProblemsAreBounded: at a bound there is no problem yet.
func TestProblemsAreBounded(t *testing.T) {
	for why, change := range map[string]func(*observation){
		"few questions unprotected":   countsOf(history.Counts{unprotectedCount: 20, "answer:lookup_failed": 20}),
		"a small share unprotected":   countsOf(history.Counts{unprotectedCount: 30, "answer:enforce": 1000}),
		"a quarter of the lookups":    countsOf(history.Counts{"lookup:dns_timeout": 25, "lookup:no_record": 75}),
		"half of the fetches":         countsOf(history.Counts{"fetch:status": 30, "fetch:ok": 30}),
		"one of ten policies failing": func(s *observation) { s.survey.failing = 10 },
		"connections":                 func(s *observation) { s.conns = 80 },
		"overdue":                     func(s *observation) { s.survey.status.Overdue = 1000 },
		"not counted yet":             func(s *observation) { s.survey = nil },
	} {
		s := observation{maxConns: 100, survey: &survey{live: map[mtasts.Mode]int{mtasts.ModeEnforce: 100}},
			counted: func(time.Duration) history.Counts { return nil }}
		change(&s)
		if found := findProblems(s); len(found) != 0 {
			t.Errorf("%s: %v", why, found)
		}
	}
}

// TestExpiring: a policy expires soon only if it cannot be refreshed, however short its max_age is.
func TestExpiring(t *testing.T) {
	f := startWeb(t, nil,
		dailyEntry(t, "short.test", "enforce", 20*time.Hour, day),
		dailyEntry(t, "week.test", "enforce", 6*day, 7*day),
		withFailure(dailyEntry(t, "once.test", "enforce", 11*time.Hour, day), "no"),
		withFailure(dailyEntry(t, "over-half.test", "enforce", 13*time.Hour, day), "no"),
		withFailure(dailyEntry(t, "long.test", "enforce", 22*day, 30*day), "no"),
		withFailure(dailyEntry(t, "soon.test", "enforce", 24*day, 30*day), "no"),
		withFailure(dailyEntry(t, "none.test", "none", 6*day, 7*day), "no"))
	s := f.monitor.Status(t.Context())
	if s.Policies.Failing != 4 || s.Policies.Expiring != 2 {
		t.Errorf("%+v, want 4 failing and 2 expiring", s.Policies)
	}
	body := f.page("/policies?state=expiring")
	for _, domain := range []string{"over-half.test", "soon.test"} {
		if !strings.Contains(body, domain) {
			t.Errorf("%s is not listed", domain)
		}
	}
	if strings.Count(body, `<td class="domain">`) != 2 {
		t.Errorf("not 2 policies:\n%s", body)
	}
}
