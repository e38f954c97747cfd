package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	homeRows   = 20  // of each list on the first page, but policies
	maxOverlay = 100 // overrides on the first page
)

// homeView is the home page.
type homeView struct {
	Status      Status
	Tiles       []tile
	Failing     []policyRow
	Unavailable []Unavailable
	First       []policyRow
	Next        string // last domain of First, if there is another page; else ""
	Overrides   []*Override
	Events      []history.Event
	Charts      []chart
}

func (homeView) template() string { return "home.html" }

// tile is a number that links to the list of what it counts.
type tile struct {
	Name  string
	Value int
	URL   string
	Bad   bool
}

func (s *WebServer) home(r *http.Request) (view, error) {
	v := s.monitor.surveyor.forPage(r.Context())
	if v == nil {
		return nil, &pageError{http.StatusServiceUnavailable, "Counting",
			"The policies are being counted for the first time. Reload this page in a moment."}
	}
	h := homeView{Status: s.monitor.status(v), First: v.first, Failing: first(v.failingRows, homeRows),
		Events: first(s.monitor.History.Events(""), homeRows), Charts: charts(s.monitor.History, time.Now())}
	h.Tiles = tiles(h.Status)
	if h.Status.Unavailable > 0 {
		h.Unavailable = first(s.unavailable(""), homeRows)
	}
	if len(h.First) == pageSize {
		h.Next = h.First[pageSize-1].Domain
	}
	for _, o := range first(s.monitor.admin.Overrides(), maxOverlay) {
		h.Overrides = append(h.Overrides, viewOverride(o))
	}
	return h, nil
}

// first returns the first n values, or all.
func first[T any](all []T, n int) []T { return all[:min(n, len(all))] }

// tiles returns the numbers of the first page. Those that are 0 nearly always are there only when they are not.
func tiles(s Status) []tile {
	p := s.Policies
	all := []tile{
		{"enforce", p.Enforce, "/policies?mode=enforce&state=live", false},
		{"testing", p.Testing, "/policies?mode=testing&state=live", false},
		{"none", p.None, "/policies?mode=none&state=live", false},
		{"cannot be refreshed", p.Failing, "/policies?state=failing", p.Failing > 0},
		{"announced, not available", s.Unavailable, "/unavailable", s.Unavailable > 0},
	}
	for _, t := range []tile{
		{"of them expire soon", p.Expiring, "/policies?state=expiring", true},
		{"expired", p.Expired, "/policies?state=expired", false},
		{"overrides", s.Overrides, "/#overrides", false},
	} {
		if t.Value > 0 {
			all = append(all, t)
		}
	}
	return all
}

// unavailableView is one page of the domains that announce a policy which cannot be fetched, by name.
type unavailableView struct {
	Rows []Unavailable
	Next string // last domain of Rows, if there is another page; else ""
}

func (unavailableView) template() string { return "unavailable.html" }

func (s *WebServer) unavailablePage(r *http.Request) (view, error) {
	v := unavailableView{Rows: s.unavailable(r.URL.Query().Get("after"))}
	if len(v.Rows) > pageSize {
		v.Rows = v.Rows[:pageSize]
		v.Next = v.Rows[pageSize-1].Domain
	}
	return v, nil
}

// unavailable returns the rows of one page and one more, if there is one.
func (s *WebServer) unavailable(after string) []Unavailable {
	return s.monitor.unavailable(pageSize+1, func(domain string) bool { return domain > after })
}

// unavailable returns the first n wanted domains that announce a policy which cannot be fetched, by name.
func (m *Monitor) unavailable(n int, wanted func(domain string) bool) []Unavailable {
	found := least[Unavailable]{n: n, cmp: func(a, b Unavailable) int { return strings.Compare(a.Domain, b.Domain) }}
	for domain, f := range m.admin.Unavailable() {
		if wanted(domain.String()) {
			found.add(viewUnavailable(domain, f))
		}
	}
	return found.sorted()
}

// eventsView is the page of all recent events.
type eventsView struct{ Events []history.Event }

func (eventsView) template() string { return "events.html" }

// domainView is the page of one domain.
type domainView struct{ Domain }

func (domainView) template() string { return "domain.html" }

func (s *WebServer) domain(r *http.Request) (view, error) {
	name, err := dnsname.Parse(r.PathValue("domain"))
	if err != nil {
		return nil, &pageError{http.StatusBadRequest, "Invalid domain", err.Error()}
	}
	d, known := s.monitor.Domain(r.Context(), name)
	if !known {
		return nil, &pageError{http.StatusNotFound, name.String(),
			"Nothing is known about this domain. It is looked up when there is mail for it."}
	}
	return domainView{d}, nil
}

// refreshSeconds returns how often the browser is to reload a page: the parameter refresh, from 5 s to an hour; 0:
// never.
func refreshSeconds(q url.Values) int {
	n, err := strconv.Atoi(q.Get("refresh"))
	if err != nil || n <= 0 {
		return 0
	}
	return min(max(n, 5), 3600)
}
