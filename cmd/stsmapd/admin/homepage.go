package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

const (
	homeFailing    = 20  // failing policies on the first page
	homeOverrides  = 100 // overrides on the first page
	connsWarnShare = 0.8 // share of the limit that causes a warning
)

// homeView is the home page.
type homeView struct {
	Problems    []string
	Tiles       []tile
	FailingRows []policyRow
	Failing     int // number of all failing policies
	More        bool
	First       []policyRow
	Next        string // last domain of First, if there is another page; else ""
	Overrides   []overrideView
	Counted     time.Time
}

func (homeView) template() string { return "home.html" }

// tile is a number with its name.
type tile struct {
	Name, Value string
	Bad         bool
}

func (s *WebServer) home(r *http.Request) (view, error) {
	v := s.surveyor.forPage(r.Context())
	if v == nil {
		return nil, &pageError{http.StatusServiceUnavailable, "Counting",
			"The policies are being counted for the first time. Reload this page in a moment."}
	}
	m := s.opt.Service.Activity()
	h := homeView{FailingRows: v.failingRows, Failing: v.failing, First: v.first, Counted: v.at,
		Tiles: tiles(v, m, s.opt.Conns())}
	if len(h.FailingRows) > homeFailing {
		h.FailingRows, h.More = h.FailingRows[:homeFailing], true
	}
	if len(h.First) == pageSize {
		h.Next = h.First[pageSize-1].Domain
	}
	for _, o := range s.opt.Service.Overrides() {
		if len(h.Overrides) == homeOverrides {
			break
		}
		h.Overrides = append(h.Overrides, pageOverride(o))
	}
	h.Problems = s.problems(v, m)
	return h, nil
}

func tiles(v *survey, m resolver.Activity, conns int) []tile {
	number := func(n int) string { return fmt.Sprint(n) }
	return []tile{
		{"enforce", number(v.live[mtasts.ModeEnforce]), false},
		{"testing", number(v.live[mtasts.ModeTesting]), false},
		{"none", number(v.live[mtasts.ModeNone]), false},
		{"failing refresh", number(v.failing), v.failing > 0},
		{"expire within 7 days", number(v.expiring), false},
		{"of them failing", number(v.expiringFailing), v.expiringFailing > 0},
		{"connections", number(conns), false},
		{"lookups in progress", number(m.Lookups), false},
		{"refreshes overdue", number(v.status.Overdue), false},
		{"not yet on disk", number(m.Unsaved), m.Unsaved > 0},
		{"without a policy", number(m.Negatives), false},
	}
}

// plural returns a number with the singular or plural noun.
func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// sentence adds a capital letter and a full stop to a text.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// problems returns what an administrator should repair, as sentences.
func (s *WebServer) problems(v *survey, m resolver.Activity) []string {
	var list []string
	if m.Failing {
		list = append(list, "The policy store cannot be written: policies are served from memory, and a restart "+
			"would lose those not yet on disk. Check the disk space and the state directory.")
	}
	if m.NoRoots {
		list = append(list, "There are no CA roots: no policy can be fetched, and live policies are served until "+
			"they expire. Install ca-certificates or set fetch.ca_file, then reload.")
	}
	for _, f := range v.status.HostFaults {
		list = append(list, sentence(f.String()))
	}
	if s.opt.Shared().Failing {
		list = append(list, "The shared engine cannot be reached, or rejects writes: this host continues with its "+
			"local store. Check the engine, its memory, and shared.url.")
	}
	if s.opt.Reload().Failed {
		list = append(list, "The configuration file was not reloaded: the old settings stay in force. The log says "+
			"what is wrong with the file.")
	}
	if v.expiringFailing > 0 {
		list = append(list, plural(v.expiringFailing, "policy expires", "policies expire")+
			" within 7 days and cannot be fetched: after that, mail to the domain is no longer protected.")
	}
	if v.unreadable > 0 {
		list = append(list, plural(v.unreadable, "policy", "policies")+
			" in the store cannot be read: domains that are not in memory are looked up again when there is mail for "+
			"them.")
	}
	if c := s.opt.Conns(); float64(c) >= connsWarnShare*float64(s.opt.MaxConns) {
		list = append(list, fmt.Sprintf(
			"%d of %d connections are open: at the limit, new connections from Postfix wait.", c,
			s.opt.MaxConns))
	}
	return list
}
