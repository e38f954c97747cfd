package deliveries

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Print writes a summary for people. The error is one of writing.
func (s *Summary) Print(w io.Writer, now time.Time) error {
	out := term.NewSheet(w, 26)
	out.Heading(s.title())
	s.printCounts(out)
	if out.Err == nil && len(s.KeptBack) > 0 {
		out.Print("")
		out.Err = s.printKeptBack(w)
	}
	if out.Err == nil && len(s.Waiting) > 0 {
		out.Print("")
		out.Err = s.printWaiting(w, now)
		s.printRemedies(out)
	}
	for i, n := range s.Notes {
		if i == 0 {
			out.Print("")
		}
		out.Print("note: " + term.Clean(n.Text))
	}
	if s.First != nil && len(s.Waiting) == 0 {
		out.Print("\nno mail waits because of a policy")
	}
	return out.Err
}

func (s *Summary) title() string {
	what := fmt.Sprintf("mail to %s", term.Plural(s.Domains, "domain"))
	if s.Domain != "" {
		what = "mail to " + s.Domain
	}
	if s.First == nil {
		return what
	}
	const layout = "2006-01-02 15:04"
	return fmt.Sprintf("%s, %s to %s UTC", what, s.First.Format(layout), s.Last.Format(layout))
}

// printCounts prints what became of recipients. A line that is seldom of interest is left out where it is 0.
func (s *Summary) printCounts(out *term.Sheet) {
	c := s.Counts
	bad := func(n int) string {
		if n > 0 {
			return term.Red
		}
		return term.Plain
	}
	for _, line := range []struct {
		name, colour string
		n            int
		always       bool
	}{
		{"sent, verified", term.Green, c.Verified, true},
		{"sent by TLS, not verified", term.Plain, c.Encrypted, true},
		{"sent without TLS", term.Plain, c.Plaintext, true},
		{"sent, TLS not logged", term.Yellow, c.Unlogged, false},
		{"returned to the sender", term.Plain, c.Bounced, true},
		{"removed from the queue", term.Plain, c.Removed, false},
		{"probed, or not known", term.Plain, c.Other, false},
		{"waiting", term.Plain, c.Waiting, true},
		{"  because of a policy", bad(c.WaitingForPolicy), c.WaitingForPolicy, true},
	} {
		if line.n > 0 || line.always {
			out.Line(line.name, line.colour, strconv.Itoa(line.n))
		}
	}
	if len(s.Levels) > 0 {
		out.Line("TLS levels reached", term.Plain, strings.Join(s.Levels, ", "))
	}
}

func (s *Summary) printKeptBack(w io.Writer) error {
	t := term.NewTable(w, "KEPT BACK BY A POLICY", "ATTEMPTS", "WAITING", "SENT LATER", "RETURNED", "REMOVED")
	for _, k := range s.KeptBack {
		t.Row(term.Text(Words(k.Reason)), term.Text(strconv.Itoa(k.Attempts)), term.Text(strconv.Itoa(k.Waiting)),
			term.Text(strconv.Itoa(k.SentAfter)), term.Text(strconv.Itoa(k.Bounced)),
			term.Text(strconv.Itoa(k.Removed)))
	}
	return t.End()
}

func (s *Summary) printWaiting(w io.Writer, now time.Time) error {
	t := term.NewTable(w, "WAITING FOR", "MESSAGES", "OLDEST", "MX", "REASON")
	for _, wait := range s.Waiting {
		oldest := "-"
		if wait.Oldest != nil {
			oldest = term.Relative(now, *wait.Oldest)
		}
		t.Row(term.Painted(term.Red, wait.name()), term.Text(strconv.Itoa(wait.Messages)), term.Text(oldest),
			term.Text(orDash(wait.MX)), term.Text(Words(wait.Reason)))
	}
	return t.End()
}

func (w *Waiting) name() string {
	if w.Domain == "" {
		return "(further domains)"
	}
	return w.Domain
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// printRemedies says what to do about each domain, and then gives all overrides at once, to be pasted.
func (s *Summary) printRemedies(out *term.Sheet) {
	out.Print("")
	out.Heading("What to do")
	told, overridden := map[string]bool{}, map[dnsname.Name]bool{}
	var pasted []string
	for _, w := range s.Waiting {
		if w.Override != "" && !overridden[w.policyDomain] {
			overridden[w.policyDomain] = true
			pasted = append(pasted, w.Override)
		}
		if told[w.Domain+" "+w.Remedy] {
			continue
		}
		told[w.Domain+" "+w.Remedy] = true
		out.Line(w.name(), term.Plain, w.Remedy)
		if w.NextHop != "" && w.NextHop != w.Domain {
			out.Line("", term.Plain, "next hop: "+w.NextHop)
		}
		if w.Text != "" && (w.Override == "" || w.Reason == maillog.OtherViolation) {
			out.Line("", term.Plain, "Postfix says: "+w.Text)
		}
		if p := w.Policy; p != nil {
			out.Line("", term.Plain, p.text())
		}
	}
	if len(pasted) > 0 {
		out.Print("\nTo deliver without the policy until it is mended, append this to\n" +
			"/etc/stsmapd/stsmapd.toml and run `systemctl reload stsmapd`:\n\n" +
			strings.TrimSuffix(strings.Join(pasted, "\n"), "\n"))
	}
}

func (p *Policy) text() string {
	if p.Mode == "" {
		return "stsmapd answers now: " + p.Answer
	}
	text := "policy: " + p.Mode
	if len(p.MX) > 0 {
		text += " " + strings.Join(p.MX, " ")
	}
	if p.Expires != nil {
		text += ", until " + p.Expires.Format(time.DateOnly)
	}
	return text
}
