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
	homeTrouble   = 20  // policies in trouble on the first page
	homeOverrides = 100 // overrides on it
	connsNear     = 0.8 // of the limit is near
)

// homeView is the first page.
type homeView struct {
	Problems  []string
	Tiles     []tile
	Trouble   []policyRow
	Failing   int // all that are in trouble
	More      bool
	First     []policyRow
	Next      string // the page after First; "": there is none
	Overrides []overrideView
	Counted   time.Time
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
	m := s.opt.Service.Metrics()
	h := homeView{Trouble: v.trouble, Failing: v.failing, First: v.first, Counted: v.at,
		Tiles: tiles(v, m, s.opt.Conns())}
	if len(h.Trouble) > homeTrouble {
		h.Trouble, h.More = h.Trouble[:homeTrouble], true
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

func tiles(v *survey, m resolver.Metrics, conns int) []tile {
	number := func(n int) string { return fmt.Sprint(n) }
	all := []tile{
		{"enforce", number(v.live[mtasts.ModeEnforce]), false},
		{"testing", number(v.live[mtasts.ModeTesting]), false},
		{"none", number(v.live[mtasts.ModeNone]), false},
		{"failing refresh", number(v.failing), v.failing > 0},
		{"expire within 7 days", number(v.expiring), false},
		{"of them failing", number(v.expiringFailing), v.expiringFailing > 0},
		{"connections", number(conns), false},
		{"looked up now", number(m.Lookups), false},
		{"refreshes overdue", number(v.status.Overdue), false},
		{"wait for the disk", number(m.Unsaved), m.Unsaved > 0},
	}
	if m.Absences >= 0 {
		all = append(all, tile{"without a policy", number(m.Absences), false})
	}
	return all
}

// counted is a number with the word that fits it.
func countOf(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// sentence is a text with a capital letter and a full stop.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// problems says what an administrator should mend.
func (s *WebServer) problems(v *survey, m resolver.Metrics) []string {
	var list []string
	if m.Failing {
		list = append(list, "The policy store cannot be written: policies are served from memory, and a restart "+
			"would forget "+
			"those that wait for the disk. Check the disk space and the state directory.")
	}
	if m.NoRoots {
		list = append(list, "There is no trusted CA: no policy can be fetched, and live ones end when they expire. "+
			"Install "+
			"ca-certificates or set fetch.ca_file, then reload.")
	}
	for _, f := range v.status.HostFaults {
		list = append(list, sentence(f.String()))
	}
	if s.opt.Shared().Failing {
		list = append(list, "The shared engine cannot be asked, or takes no writes: this host goes on with what it "+
			"knows itself. Check the engine, "+
			"its memory, and shared.url.")
	}
	if s.opt.Reload().Failed {
		list = append(list, "The configuration file was not reloaded: the settings from before are in force. The log "+
			"says what is wrong with it.")
	}
	if v.expiringFailing > 0 {
		list = append(list, countOf(v.expiringFailing, "policy expires", "policies expire")+
			" within 7 days and cannot be fetched: after that, mail there is no longer protected.")
	}
	if v.unreadable > 0 {
		list = append(list, countOf(v.unreadable, "policy", "policies")+
			" in the store cannot be read; what is not in memory is looked up anew when mail comes.")
	}
	if c := s.opt.Conns(); float64(c) >= connsNear*float64(s.opt.MaxConns) {
		list = append(list, fmt.Sprintf("%d of %d connections are open: beyond the limit Postfix waits.", c,
			s.opt.MaxConns))
	}
	return list
}
