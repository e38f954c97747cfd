package admin

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestTilesLinkToTheirLists: each number of the first page is the number of rows of the list that it links to.
func TestTilesLinkToTheirLists(t *testing.T) {
	all := []resolver.Entry{
		dailyEntry(t, "expired.test", "enforce", 3*day, 2*day),
		withFailure(dailyEntry(t, "expired-failing.test", "enforce", 3*day, 2*day), "no"),
		withFailure(dailyEntry(t, "none-failing.test", "none", 2*day, 3*day), "no"),
		withFailure(dailyEntry(t, "soon.test", "enforce", 6*day, 7*day), "no"),
	}
	for i, mode := range []string{"enforce", "enforce", "enforce", "testing", "testing", "none"} {
		all = append(all, dailyEntry(t, fmt.Sprintf("d%d.test", i), mode, time.Hour, 30*day))
	}
	f := startWeb(t, nil, all...)
	f.query("sts", "a.new.test")
	f.query("sts", "b.new.test")
	body := f.page("/")
	tile := regexp.MustCompile(`<a class="tile[^"]*" href="([^"]+)"><b>(\d+)</b> <span>([^<]+)</span>`)
	found := map[string]int{}
	for _, m := range tile.FindAllStringSubmatch(body, -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		found[m[3]] = n
		list := f.page(html.UnescapeString(m[1]))
		if rows := strings.Count(list, `<td class="domain">`); rows != n {
			t.Errorf("%s: %d, but its list %s has %d rows", m[3], n, m[1], rows)
		}
	}
	want := map[string]int{"enforce": 4, "testing": 2, "none": 2, "cannot be refreshed": 1, "of them expire soon": 1,
		"expired": 2, "announced, not available": 2}
	if fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", found, want)
	}
	part, _, _ := strings.Cut(body[strings.Index(body, `<section id="unavailable"`):], "</section>")
	if !strings.Contains(part, "a.new.test") || !strings.Contains(pageText(part), "404 <b>Not Found</b>") {
		t.Errorf("announced but not available:\n%s", part)
	}
}

// TestOneIsSingular: "1 domain", not "1 domains".
func TestOneIsSingular(t *testing.T) {
	f := startWeb(t, nil)
	f.query("sts", "absent.test")
	testkit.Eventually(t, testkit.Hang, "a domain without a policy", func() bool {
		return strings.Contains(pageText(f.page("/")), "1 domain without a policy in memory; ")
	})
}

// TestUnavailablePages: the list of what is announced and cannot be fetched has pages, as that of the policies has.
func TestUnavailablePages(t *testing.T) {
	f := startWeb(t, nil)
	for i := range 2*pageSize + 3 {
		f.query("sts", fmt.Sprintf("d%03d.new.test", i))
	}
	var names []string
	link := regexp.MustCompile(`<td class="domain"><a href="/domain/([^"]+)"`)
	next := regexp.MustCompile(`<a href="(/unavailable\?after=[^"]+)">next page</a>`)
	pages := 0
	for path := "/unavailable"; path != ""; pages++ {
		body := f.page(path)
		for _, m := range link.FindAllStringSubmatch(body, -1) {
			names = append(names, m[1])
		}
		path = ""
		if m := next.FindStringSubmatch(body); m != nil {
			path = html.UnescapeString(m[1])
		}
	}
	if len(names) != 2*pageSize+3 || pages != 3 || !slices.IsSorted(names) {
		t.Errorf("%d names on %d pages: %v", len(names), pages, names)
	}
}

// TestCharts: what was asked is counted by outcome on the first page, without a script, with its numbers.
func TestCharts(t *testing.T) {
	f := startWeb(t, nil, dailyEntry(t, "a.test", "enforce", time.Hour, 30*day))
	for range 3 {
		f.query("sts", "a.test")
	}
	f.query("sts", "absent.test")
	f.query("sts", "x.new.test")
	f.query("sts", ".test")
	var part, text string
	testkit.Eventually(t, testkit.Hang, "the lookups of three domains, one of them after its answer", func() bool {
		body := f.page("/")
		part, _, _ = strings.Cut(body[strings.Index(body, `<section id="history"`):], "</section>")
		text = strings.Join(strings.Fields(pageText(part)), " ")
		return strings.Contains(text, "DNS lookups by result, 24 hours: 3")
	})
	for _, want := range []string{"Answers by outcome, 24 hours: 5", "enforce 3", "no policy 1", "fetch failed 1",
		"Answers by outcome, 14 days: 5", "announced 1", "no record 2",
		"Policy fetches by result, 14 days: 1", "status 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in %s", want, text)
		}
	}
	if strings.Count(part, "<svg") != 6 || strings.Count(part, `role="img" aria-label="`) != 6 ||
		strings.Contains(part, "no domain") {
		t.Errorf("not six charts:\n%s", part)
	}
}

// TestChartShapes: bars stand on each other, as high as their share of the highest.
func TestChartShapes(t *testing.T) {
	c := newChart(answerCount, []history.Counts{{"answer:enforce": 30, "answer:lookup_failed": 10, "fetch:ok": 5}, nil,
		{"answer:none": 20}})
	want := []shape{{"good", "M0.0 80.0h136.0v-60.0h-136.0z"}, {"idle", "M320.0 80.0h136.0v-40.0h-136.0z"},
		{"bad", "M0.0 20.0h136.0v-20.0h-136.0z"}}
	if !slices.Equal(c.Shapes, want) || c.Most != 40 || c.Sum != 60 {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.Rows, []chartRow{{"good", "enforce", 30}, {"idle", "none", 20}, {"bad", "lookup failed", 10}}) {
		t.Errorf("%+v", c.Rows)
	}
	if empty := newChart(answerCount, make([]history.Counts, 96)); empty.Sum != 0 || len(empty.Shapes) != 0 {
		t.Errorf("nothing counted: %+v", empty)
	}
}

// TestReloading: a page has a link to itself, and reloads itself only when it is asked for.
func TestReloading(t *testing.T) {
	f := startWeb(t, nil)
	for _, c := range []struct{ why, path, refresh, link string }{
		{"not asked for", "/", "", `href="/?refresh=30"`},
		{"every 30 s", "/?refresh=30", "30", `href="/">stop`},
		{"with a search", "/policies?q=a.test&refresh=60", "60", `href="/policies?q=a.test">stop`},
		{"too often", "/?refresh=1", "5", "every 5 s"},
		{"too seldom", "/?refresh=99999999", "3600", "every 3600 s"},
		{"no number", "/?refresh=x%22", "", `href="/">Reload`},
		{"negative", "/?refresh=-1", "", `href="/">Reload`},
	} {
		code, body, header := f.get(c.path)
		if code != http.StatusOK || header.Get("Refresh") != c.refresh || !strings.Contains(body, c.link) {
			t.Errorf("%s: %d, Refresh %q, want %q and %q", c.why, code, header.Get("Refresh"), c.refresh, c.link)
		}
	}
}

// TestRateProblemsAreLogged: what is found in counts has a line when it begins and one when it ends, which are events;
// what the parts of the daemon log themselves has none.
func TestRateProblemsAreLogged(t *testing.T) {
	f := startWeb(t, nil)
	var out bytes.Buffer
	f.monitor.Log = slog.New(f.monitor.History.Handler(slog.NewTextHandler(&out, nil)))
	failing := false
	f.monitor.look = func(*survey) observation {
		s := observation{maxConns: 100, counted: func(time.Duration) history.Counts { return nil }}
		if failing {
			countsOf(history.Counts{"lookup:dns_timeout": 30})(&s)
			s.activity.Failing = true
		}
		return s
	}
	before := map[string]bool{}
	for _, failing = range []bool{false, true, true, false, false} {
		before = f.monitor.logProblems(before)
	}
	text := out.String()
	if strings.Count(text, "\n") != 2 || strings.Count(text, "event=dns_failing ")+strings.Count(text,
		"event=dns_failing\n") != 1 || strings.Count(text, "event=dns_failing_ended") != 1 {
		t.Errorf("the log has\n%s", text)
	}
	events := f.monitor.History.Events("")
	if len(events) != 2 || events[1].Kind != "dns_failing" || !events[1].Trouble() || events[0].Trouble() {
		t.Errorf("events: %+v", events)
	}
	if body := f.page("/events"); !strings.Contains(body, "30 of 30 DNS lookups failed") {
		t.Errorf("the page of events:\n%s", body)
	}
}

// TestSearchStates: a list by state and mode has what its words say.
func TestSearchStates(t *testing.T) {
	f := startWeb(t, nil, dailyEntry(t, "live.test", mtasts.ModeEnforce.String(), time.Hour, 30*day),
		dailyEntry(t, "over.test", "enforce", 3*day, 2*day))
	for path, want := range map[string]string{"/policies?state=live": "live.test",
		"/policies?state=expired": "over.test"} {
		body := f.page(path)
		if strings.Count(body, `<td class="domain">`) != 1 || !strings.Contains(body, "/domain/"+want) {
			t.Errorf("%s:\n%s", path, body)
		}
	}
	if body := f.page("/policies?state=nonsense"); strings.Contains(body, `<td class="domain">`) {
		t.Errorf("a state that is none:\n%s", body)
	}
}
