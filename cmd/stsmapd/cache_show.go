package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func newCacheShow(flags *controlFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show DOMAIN",
		Short: "Show everything known about a domain",
		Long: "Show everything known about a domain, what becomes of mail to it, and the answer of each map name. " +
			"Nothing changes, and only the MX records are looked up. Exit code 0: shown; 1: nothing is known; 2: an " +
			"error.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDomain(cmd, flags, args,
				func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
					d, err := client.Show(ctx, domain)
					if err != nil {
						return false, err
					}
					if asJSON {
						return true, term.WriteJSON(cmd.OutOrStdout(), d)
					}
					return true, showDomain(cmd.OutOrStdout(), time.Now(), d)
				})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func showDomain(w io.Writer, now time.Time, d admin.Domain) error {
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

func policyLines(s *term.Sheet, now time.Time, p admin.Policy) {
	state := "live"
	if !p.Live {
		state = "expired: the next question looks the domain up again"
	}
	s.Line("policy", modeColour(p.Mode), p.Mode+", "+state)
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
			fmt.Sprintf("%d fetches in a row have failed since %s; the next attempt is %s", t.Count,
				term.Absolute(now, t.Since), term.Relative(now, t.RetryAt)))
		s.Line("", term.Red, t.Reason)
	}
}

func negativeLines(s *term.Sheet, now time.Time, a admin.Negative) {
	switch a.Outcome {
	case "no_policy":
		s.Line("TXT record", term.Plain, "the DNS says that there is no MTA-STS policy")
	case "lookup_failed":
		s.Line("TXT record", term.Red, fmt.Sprintf("%d lookups in a row have failed", a.Failures))
	case "host_fault":
		s.Line("policy", term.Red, "a fault of this host prevents the lookup")
	default:
		s.Line("TXT record", term.Red,
			fmt.Sprintf("announces a policy with id %s, which cannot be fetched: %d fetches in a row have failed",
				a.FailedID, a.Failures))
		s.Line("next fetch", term.Plain, term.Absolute(now, a.RetryAt)+", or as soon as the id changes")
	}
	if a.Reason != "" {
		s.Line("", term.Red, a.Reason)
	}
	s.Line("next TXT lookup", term.Plain, "with the first question after "+term.Absolute(now, a.NextLookup))
}

func overrideText(o admin.Override) string {
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
func answerText(domain string, a admin.Answer) string {
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
