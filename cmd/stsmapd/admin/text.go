package admin

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
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
	unavailable := term.Plural(s.Unavailable, "domain")
	if s.Unavailable > 0 {
		unavailable += ": stsmapd cache list --unavailable"
	}
	out.Line("announced, not available", term.Plain, unavailable)
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
		return string(s.Health)
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

// Print writes what is known about a domain for people. The error is one of writing.
func (d Domain) Print(w io.Writer, now time.Time) error {
	s := term.NewSheet(w, 16)
	s.Heading(d.Domain)
	if d.Policy != nil {
		policyLines(s, now, *d.Policy)
	} else {
		s.Line("policy", term.Plain, "none cached")
	}
	if d.Negative != nil {
		negativeLines(s, now, *d.Negative)
	}
	if o := d.Override; o != nil {
		s.Line("override", term.Yellow, overrideText(*o))
	}
	s.Line("mail", term.Plain, d.Mail.Text)
	if d.Mail.MXError != "" {
		s.Line("", term.Red, "the MX records could not be looked up: "+d.Mail.MXError)
	}
	if d.StoreError != "" {
		s.Line("store", term.Red, "cannot be read, and may have more: "+d.StoreError)
	}
	s.Heading("answers")
	for _, a := range d.Answers {
		s.Line(a.Map, term.Plain, answerText(d.Domain, a))
	}
	if len(d.Events) > 0 {
		s.Heading("recent events")
	}
	for _, e := range d.Events {
		s.Line(e.At.UTC().Format("01-02 15:04 UTC"), eventColour(e), e.Text)
	}
	if d.Policy != nil {
		s.Heading("policy as served")
		for line := range strings.Lines(d.Policy.Text) {
			s.Print("  " + term.Clean(strings.TrimRight(line, "\r\n")))
		}
	}
	return s.Err
}

// Print writes what became of a refresh for people. The error is one of writing.
func (r Refreshed) Print(w io.Writer, now time.Time) error {
	_, err := fmt.Fprintf(w, "%s: %s\n", r.Domain, term.Clean(r.text(now)))
	return err
}

func (r Refreshed) text(now time.Time) string {
	switch p := r.Policy; {
	case p != nil && r.Error != "" && p.Live:
		return fmt.Sprintf("not fetched: %s; the policy of %s (mode %s) stays in force, and expires %s", r.Error,
			term.Absolute(now, p.Fetched), p.Mode, term.Relative(now, p.Expires))
	case r.Error != "":
		return "cannot get a policy: " + r.Error
	case p == nil:
		return "no policy: the DNS says that there is none"
	default:
		return fmt.Sprintf("fetched: mode %s, id %s, expires %s", p.Mode, p.ID, term.Relative(now, p.Expires))
	}
}

// Print says for people what was forgotten. The error is one of writing.
func (f Forgotten) Print(w io.Writer, _ time.Time) error {
	_, err := fmt.Fprintf(w, "%s: forgotten\n", f.Domain)
	return err
}

func policyLines(s *term.Sheet, now time.Time, p Policy) {
	state := "live"
	if !p.Live {
		state = "expired: the next question looks the domain up again"
	}
	s.Line("policy", term.Plain, p.Mode+", "+state)
	for i, mx := range p.MX {
		s.Line([]string{"mx", ""}[min(i, 1)], term.Plain, mx)
	}
	s.Line("id", term.Plain, p.ID)
	s.Line("max_age", term.Plain,
		strconv.FormatInt(p.MaxAge, 10)+" s ("+term.Span(time.Duration(p.MaxAge)*time.Second)+")")
	s.Line("fetched", term.Plain, term.Absolute(now, p.Fetched))
	s.Line("fetched by", term.Plain, cmp.Or(p.Origin, "this host"))
	s.Line("expires", term.Plain, term.Absolute(now, p.Expires))
	s.Line("last used", term.Plain, term.Absolute(now, p.Used))
	refresh := term.Absolute(now, p.NextRefresh)
	if p.NextRefresh.IsZero() {
		refresh = "none scheduled"
	}
	s.Line("next refresh", term.Plain, refresh)
	check := "with the next question"
	if !p.NextCheck.IsZero() {
		check = "with the first question after " + term.Absolute(now, p.NextCheck)
	}
	s.Line("next TXT lookup", term.Plain, check)
	where := "store"
	if p.InMemory {
		where = "memory and store"
	}
	colour := term.Plain
	if p.Unsaved {
		colour, where = term.Red, "memory only: not yet on disk, and a restart would lose it"
	}
	s.Line("kept in", colour, where)
	if t := p.FetchFailures; t != nil {
		s.Line("failing", term.Red,
			fmt.Sprintf("%s failed in a row since %s; the next attempt is %s", term.Plural(t.Count, "fetch"),
				term.Absolute(now, t.Since), term.Relative(now, t.RetryAt)))
		s.Line("", term.Red, t.Reason)
	}
}

func negativeLines(s *term.Sheet, now time.Time, a Negative) {
	colour := term.Red
	if a.Outcome == resolver.Absent.String() {
		colour = term.Plain
	}
	s.Line("why", colour, a.Text())
	if a.Reason != "" {
		s.Line("", term.Red, a.Reason)
	}
	if !a.RetryAt.IsZero() {
		s.Line("next fetch", term.Plain, term.Absolute(now, a.RetryAt)+", or as soon as the id changes")
	}
	s.Line("next TXT lookup", term.Plain, "with the first question after "+term.Absolute(now, a.NextLookup))
}

func overrideText(o Override) string {
	text := o.Action
	if len(o.MX) > 0 {
		text += " " + strings.Join(o.MX, " ")
	}
	text += " (for " + o.Domain + ")"
	if !o.Until.IsZero() {
		text += ", until " + o.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

// answerText returns an answer as text.
func answerText(domain string, a Answer) string {
	switch {
	case a.Outcome == "":
		return "not known without a lookup: stsmapd query -m " + a.Map + " " + domain
	case a.Status == "NOTFOUND":
		return "no policy (" + a.Outcome + ")"
	case a.Status == "OK":
		return a.Data
	}
	return a.Status + " " + a.Data
}

func eventColour(e history.Event) string {
	if e.Trouble() {
		return term.Yellow
	}
	return term.Plain
}
