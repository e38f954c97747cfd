package admin

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Print writes a status for people. The error is one of writing.
func (s Status) Print(w io.Writer, now time.Time) error {
	out := term.NewSheet(w, 24)
	out.Heading("stsmapd " + term.Clean(s.Version))
	out.Line("health", healthColour(s.Health), s.healthLine())
	for _, p := range s.Problems {
		out.Line("problem", healthColour(p.Severity), p.Text)
	}
	out.Line("running since", term.Plain, term.Absolute(now, s.Started)+", process "+strconv.Itoa(s.PID))
	if s.Config != "" {
		out.Line("configuration", term.Plain, s.Config)
	}
	reload := term.Absolute(now, s.Reload.At)
	if !s.Reload.OK {
		reload += ", failed: the old settings stay in force"
	}
	out.Line("configuration read", term.Plain, reload)
	out.Line("listens on", term.Plain, strings.Join(s.Listen, " "))
	out.Line("state directory", term.Plain, s.StateDir)
	out.Line("policies in the store", term.Plain, strconv.Itoa(s.Stored))
	s.printPolicies(out)
	out.Line("announced, not available", term.Plain, term.Plural(s.Unavailable, "domain"))
	out.Line("without a policy", term.Plain, term.Plural(s.NoPolicy, "domain")+" in memory")
	out.Line("overrides", term.Plain, strconv.Itoa(s.Overrides))
	out.Line("scheduled refreshes", term.Plain, fmt.Sprintf("%d, %d overdue", s.Refreshes, s.Overdue))
	out.Line("in progress", term.Plain, term.Plural(s.Lookups, "lookup")+", "+term.Plural(s.Fetches, "fetch"))
	out.Line("connections", term.Plain, strconv.Itoa(s.Connections))
	colour := term.Plain
	if s.Unsaved > 0 {
		colour = term.Red
	}
	out.Line("not yet on disk", colour, strconv.Itoa(s.Unsaved))
	return out.Err
}

// healthLine returns the word of health and its reason.
func (s Status) healthLine() string {
	if len(s.Problems) == 0 {
		return string(s.Health) + ": no problems"
	}
	return string(s.Health) + ": " + term.Plural(len(s.Problems), "problem")
}

func (s Status) printPolicies(out *term.Sheet) {
	p := s.Policies
	if p == nil {
		out.Line("policies", term.Plain, "being counted; ask again in a moment")
		return
	}
	out.Line("policies", term.Plain,
		fmt.Sprintf("%d enforce, %d testing, %d none, %d expired", p.Enforce, p.Testing, p.None, p.Expired))
	colour := term.Plain
	if p.Failing > 0 {
		colour = term.Yellow
	}
	out.Line("cannot be refreshed", colour, fmt.Sprintf("%d, %d of them expire soon", p.Failing, p.Expiring))
}

func healthColour(h Health) string {
	switch h {
	case Healthy:
		return term.Green
	case Degraded:
		return term.Yellow
	default:
		return term.Red
	}
}
