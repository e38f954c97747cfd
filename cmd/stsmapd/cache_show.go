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
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func newCacheShow(flags *controlFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show DOMAIN",
		Short: "Show all that is known of a domain",
		Long: "Show all that is known of a domain, and what each map name would be answered. That looks at nothing but what is " +
			"remembered, and changes nothing. Exit code 0: shown; 1: nothing is known; 2: an error.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDomain(cmd, flags, args, func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
				d, err := client.Show(ctx, domain)
				if err != nil {
					return false, err
				}
				if asJSON {
					return true, writeJSON(cmd.OutOrStdout(), d)
				}
				return true, showDomain(cmd.OutOrStdout(), time.Now(), d)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// sheet writes headings, and lines of a name and a value below them.
type sheet struct {
	out     io.Writer
	colours bool
	width   int // of the names
	err     error
}

func newSheet(w io.Writer, width int) *sheet {
	return &sheet{out: w, colours: coloured(w), width: width}
}

func (s *sheet) print(text string) {
	if s.err == nil {
		_, s.err = fmt.Fprintln(s.out, text)
	}
}

func (s *sheet) heading(text string) {
	if s.colours {
		text = paint(bold, text)
	}
	s.print(text)
}

func (s *sheet) line(name, colour, value string) {
	value = clean(value)
	if s.colours {
		value = paint(colour, value)
	}
	s.print(strings.TrimRight(fmt.Sprintf("  %-*s  %s", s.width, name, value), " "))
}

func showDomain(w io.Writer, now time.Time, d admin.Domain) error {
	s := newSheet(w, 16)
	s.heading(d.Domain)
	if d.Policy != nil {
		s.policy(now, *d.Policy)
	} else {
		s.line("policy", plain, "none is remembered")
	}
	if d.Absence != nil {
		s.absence(now, *d.Absence)
	}
	if o := d.Override; o != nil {
		s.line("override", yellow, overrideText(*o))
	}
	if d.StoreError != "" {
		s.line("store", red, "cannot be read, and may know more: "+d.StoreError)
	}
	s.heading("answers")
	for _, a := range d.Answers {
		s.line(a.Map, plain, answerText(d.Domain, a))
	}
	if d.Policy != nil {
		s.heading("policy as served")
		for line := range strings.Lines(d.Policy.Text) {
			s.print("  " + clean(strings.TrimRight(line, "\r\n")))
		}
	}
	return s.err
}

func (s *sheet) policy(now time.Time, p admin.Policy) {
	state := "live"
	if !p.Live {
		state = "expired: the next question looks the domain up anew"
	}
	s.line("policy", modeColour(p.Mode), p.Mode+", "+state)
	for i, mx := range p.MX {
		s.line([]string{"mx", ""}[min(i, 1)], plain, mx)
	}
	s.line("id", plain, p.ID)
	s.line("max_age", plain, strconv.FormatInt(p.MaxAge, 10)+" s ("+span(time.Duration(p.MaxAge)*time.Second)+")")
	s.line("fetched", plain, moment(now, p.Fetched))
	s.line("fetched by", plain, cmp.Or(p.Origin, "this host"))
	s.line("expires", plain, moment(now, p.Expires))
	s.line("last used", plain, moment(now, p.Used))
	refresh := moment(now, p.NextRefresh)
	if p.NextRefresh.IsZero() {
		refresh = "none ahead of questions"
	}
	s.line("next refresh", plain, refresh)
	check := "with the next question"
	if !p.NextCheck.IsZero() {
		check = "with the first question after " + moment(now, p.NextCheck)
	}
	s.line("next TXT lookup", plain, check)
	where := "store"
	if p.InMemory {
		where = "memory and store"
	}
	colour := plain
	if p.Unsaved {
		colour, where = red, "memory alone: it waits for the disk, and a restart would forget it"
	}
	s.line("kept in", colour, where)
	if t := p.Trouble; t != nil {
		s.line("trouble", red, fmt.Sprintf("%d fetches in a row have failed since %s; the next try is %s", t.Failures, moment(now, t.Since), when(now, t.RetryAt)))
		s.line("", red, t.Reason)
	}
}

func (s *sheet) absence(now time.Time, a admin.Absence) {
	switch a.Outcome {
	case "no_policy":
		s.line("TXT record", plain, "the DNS says that there is no MTA-STS policy")
	case "lookup_failed":
		s.line("TXT record", red, fmt.Sprintf("%d lookups in a row have failed", a.Failures))
	case "host_fault":
		s.line("policy", red, "this host lacks what it needs to look for one")
	default:
		s.line("TXT record", red, fmt.Sprintf("announces a policy with id %s, which could not be had: %d fetches in a row have failed", a.FailedID, a.Failures))
		s.line("next fetch", plain, moment(now, a.RetryAt)+", or as soon as there is a new id")
	}
	if a.Reason != "" {
		s.line("", red, a.Reason)
	}
	s.line("next TXT lookup", plain, "with the first question after "+moment(now, a.NextLook))
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

// answerText is an answer as Postfix acts on it.
func answerText(domain string, a admin.Answer) string {
	switch {
	case a.Outcome == "":
		return "stsmapd would have to look first: stsmapd query -m " + a.Map + " " + domain
	case a.Status == "NOTFOUND":
		return "no policy (" + a.Outcome + ")"
	case a.Status == "OK":
		return a.Data
	}
	return a.Status + " " + a.Data
}
