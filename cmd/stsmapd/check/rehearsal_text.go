package check

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Print writes the last paragraph of a rehearsal, and the overrides that would let the waiting mail be delivered. The
// error is one of writing.
func (s *Rehearsal) Print(w io.Writer) error {
	page := term.NewPage(w, 0)
	page.Print("")
	page.Paragraph(term.Plain, "", 0, s.paragraph())
	told := false
	for _, wait := range s.Waits {
		if wait.Override == "" {
			continue
		}
		if !told {
			page.Print("\nTo deliver to them without the policy until it is mended, append to\n" +
				"/etc/stsmapd/stsmapd.toml what you need of this:")
			told = true
		}
		page.Print("\n" + strings.TrimSuffix(wait.Override, "\n"))
	}
	return page.Err
}

// paragraph returns the summary as one line.
func (s *Rehearsal) paragraph() string {
	text := fmt.Sprintf("%s in %s; %s a policy, %s.", term.Plural(s.Domains, "domain"), days(s.PeriodSeconds),
		verb(s.Announce, "announce"), verb(s.Enforce, "enforce"))
	add := func(n int, format string, args ...any) {
		if n > 0 {
			text += " " + fmt.Sprintf(format, args...) + "."
		}
	}
	add(s.Verified, "Mail to %d would be delivered, verified", s.Verified)
	if len(s.Waits) == 0 {
		text += " No mail would wait because of a policy."
	}
	add(len(s.Waits), "Mail to %d would wait: %s", len(s.Waits), named(s.Waits))
	add(len(s.Waits), "Of %s in that time (counted once for each recipient), %d would have waited",
		term.Plural(s.Recipients, "message"), s.WaitingRecipients)
	add(len(s.WaitsWithDANE), "From a Postfix with DANE, mail to %d more would wait: %s", len(s.WaitsWithDANE),
		named(s.WaitsWithDANE))
	add(len(s.Down), "Mail to %d waits today, policy or not: %s", len(s.Down), named(s.Down))
	add(s.Returned, "Mail to %d is returned, policy or not", s.Returned)
	var rest []string
	for _, part := range []struct {
		n    int
		text string
	}{
		{s.Testing, "in mode testing"}, {s.None, "in mode none"},
		{s.Ignored, "with an override that ignores the policy"},
		{s.Unfetched, "with a policy that cannot be fetched or is invalid"},
		{s.Unknown, "where the DNS does not say whether there is a policy"},
	} {
		if part.n > 0 {
			rest = append(rest, fmt.Sprintf("%d %s", part.n, part.text))
		}
	}
	add(len(rest), "Delivered as without MTA-STS: %s", strings.Join(rest, ", "))
	return text
}

// verb returns "1 announces" or "2 announce".
func verb(n int, verb string) string {
	if n == 1 {
		return "1 " + verb + "s"
	}
	return fmt.Sprintf("%d %s", n, verb)
}

// days returns a period in words.
func days(seconds int) string {
	d := time.Duration(seconds) * time.Second
	if n := int((d + 12*time.Hour) / (24 * time.Hour)); n > 1 {
		return term.Plural(n, "day")
	}
	return term.Span(d)
}

// named returns the domains, each with its reason.
func named(waits []WouldWait) string {
	var list []string
	for _, w := range waits {
		list = append(list, fmt.Sprintf("%s (%s)", w.Domain, w.Reason))
	}
	return strings.Join(list, ", ")
}

// OverrideText returns the lines of stsmapd.toml that have a domain's policy ignored through the day of until, UTC.
// They end with a newline.
func OverrideText(domain dnsname.Name, reason string, until time.Time) string {
	return fmt.Sprintf("[[override]]\ndomain = %q\naction = \"ignore\"\nuntil = %s\nreason = %s\n", domain,
		day(until), strconv.Quote(term.Clean(reason)))
}
