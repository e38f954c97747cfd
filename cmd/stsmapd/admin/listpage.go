package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// listView is a page of the policies, by name.
type listView struct {
	Query, Mode string
	Failing     bool
	Modes       []string
	Exact       string // the domain that Query names; "": none
	Rows        []policyRow
	First, Next string // pages: URLs, "" where there is none
	Incomplete  bool   // time ran out before all were looked at
}

func (listView) template() string { return "list.html" }

// maxQuery is longer than any domain name.
const maxQuery = 300

// policies lists the policies that were searched for, a page at a time.
func (s *WebServer) policies(r *http.Request) (view, error) {
	q := r.URL.Query()
	v := listView{Query: strings.TrimSpace(q.Get("q")), Mode: q.Get("mode"), Failing: q.Get("failing") != "",
		Modes: []string{mtasts.ModeEnforce.String(), mtasts.ModeTesting.String(), mtasts.ModeNone.String()}}
	after := q.Get("after")
	if len(v.Query) > maxQuery || len(after) > maxQuery || !utf8.ValidString(v.Query) {
		return nil, &pageError{http.StatusBadRequest, "Not a search", "That is no part of a domain name."}
	}
	part := strings.ToLower(v.Query)
	if name, err := dnsname.Parse(v.Query); err == nil {
		v.Exact, part = name.String(), name.String()
	}
	v.Rows = s.search(r.Context(), after, func(k resolver.Known) bool {
		return strings.Contains(k.Domain.String(), part) && (v.Mode == "" || k.Entry.Policy.Mode.String() == v.Mode) &&
			(!v.Failing || k.Entry.Failures.Count > 0)
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

// url is that of the same search, from after a domain on.
func (v listView) url(after string) string {
	q := url.Values{}
	for key, value := range map[string]string{"q": v.Query, "mode": v.Mode, "after": after} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if v.Failing {
		q.Set("failing", "1")
	}
	return "/policies?" + q.Encode()
}

// search walks over all policies for those of one page, and one more to tell that there are more.
func (s *WebServer) search(ctx context.Context, after string, wanted func(resolver.Known) bool) []policyRow {
	found := least[policyRow]{n: pageSize + 1, cmp: byDomain}
	for k, err := range s.opt.Service.Entries(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err == nil && k.Entry != nil && k.Domain.String() > after && wanted(k) {
			found.add(policyRowOf(k))
		}
	}
	return found.take()
}
