package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// listView is one page of the policies that a search found, sorted by name.
type listView struct {
	Query, Mode string
	State       string // one of States, or "" for all
	Modes       []string
	States      []string
	Exact       string // the domain, if Query is a whole name; else ""
	Rows        []policyRow
	First, Next string // URLs of pages; "": none
	Incomplete  bool   // the time limit ended the search
}

func (listView) template() string { return "list.html" }

// maxQuery is the longest search text, in bytes. It is longer than any domain name.
const maxQuery = 300

// policies makes a page of the policies that match the request's query.
func (s *WebServer) policies(r *http.Request) (view, error) {
	q := r.URL.Query()
	v := listView{Query: strings.TrimSpace(q.Get("q")), Mode: q.Get("mode"), State: q.Get("state"),
		States: []string{"live", "failing", "expiring", "expired"},
		Modes:  []string{mtasts.ModeEnforce.String(), mtasts.ModeTesting.String(), mtasts.ModeNone.String()}}
	after := q.Get("after")
	if len(v.Query) > maxQuery || len(after) > maxQuery || !utf8.ValidString(v.Query) {
		return nil, &pageError{http.StatusBadRequest, "Invalid search", "The text is not a part of a domain name."}
	}
	part := strings.ToLower(v.Query)
	if name, err := dnsname.Parse(v.Query); err == nil {
		v.Exact, part = name.String(), name.String()
	}
	now := time.Now()
	v.Rows = s.search(r.Context(), after, func(k resolver.Known) bool {
		return strings.Contains(k.Domain.String(), part) && (v.Mode == "" || k.Entry.Policy.Mode.String() == v.Mode) &&
			inState(now, k, v.State)
	})
	v.Incomplete = r.Context().Err() != nil
	if after != "" {
		v.First = v.url("")
	}
	if len(v.Rows) > pageSize {
		v.Rows = v.Rows[:pageSize]
		v.Next = v.url(v.Rows[pageSize-1].Domain)
	}
	return v, nil
}

// url returns the URL of the page of the same search that begins after a domain.
func (v listView) url(after string) string {
	q := url.Values{}
	for key, value := range map[string]string{"q": v.Query, "mode": v.Mode, "state": v.State, "after": after} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return "/policies?" + q.Encode()
}

// search returns the rows of one page, sorted by name, and one more row if there is another page.
func (s *WebServer) search(ctx context.Context, after string, wanted func(resolver.Known) bool) []policyRow {
	found := least[policyRow]{n: pageSize + 1, cmp: byDomain}
	for k, err := range s.monitor.admin.Entries(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err == nil && k.Entry != nil && k.Domain.String() > after && wanted(k) {
			found.add(policyRowOf(k))
		}
	}
	return found.sorted()
}

// inState reports whether a policy is in a state of listView.States, or the state is "".
func inState(now time.Time, k resolver.Known, state string) bool {
	switch state {
	case "":
		return true
	case "live":
		return k.Live
	case "failing":
		return isFailing(k)
	case "expiring":
		return isExpiring(now, k)
	case "expired":
		return !k.Live
	}
	return false
}
