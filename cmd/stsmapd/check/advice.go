package check

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/fetch"
)

const (
	daySeconds = 24 * 60 * 60
	maxMaxAge  = 31_557_600 // seconds (RFC 8461 section 3.2)
	// expiryWarning is the remaining lifetime below which a certificate should have been renewed.
	expiryWarning = 14 * 24 * time.Hour
)

// advise returns what the domain's owner should change. sameID says that the policy file has changed since the daemon
// last fetched it, and the id of the record has not.
func advise(now time.Time, r *Report, sameID bool) []Advice {
	advice := []Advice{}
	add := func(code AdviceCode, format string, args ...any) {
		advice = append(advice, Advice{code, fmt.Sprintf(format, args...)})
	}
	if p := r.Policy; p != nil {
		if p.Status == "ok" && p.Mode != "none" && p.MaxAge < daySeconds {
			add(AdviceShortMaxAge, "max_age is %d seconds, less than a day: for senders that seldom send mail the "+
				"policy has expired each time, and an attacker can hide it from them; use weeks (RFC 8461 section 3.2)",
				p.MaxAge)
		}
		if raw, long := longMaxAge(p.Lines); long {
			add(AdviceLongMaxAge, "max_age is %s seconds, more than a year: senders use %d instead (RFC 8461 section "+
				"3.2)", term.Clean(raw), maxMaxAge)
		}
		if p.Status == fetch.MediaType.String() {
			add(AdviceMediaType, "serve %s as text/plain (RFC 8461 section 3.2): some senders accept nothing else",
				p.URL)
		}
		if text, soon := expiring(now, p.TLS); soon {
			add(AdviceExpiring, "the certificate of %s %s", p.Host, text)
		}
		if sameID {
			add(AdviceSameID, "the policy file has changed, and the id of %s has not (%s): senders with the old file "+
				"keep it until their next regular refresh; set a new id", r.Record.Name, r.Record.ID)
		}
	}
	overridden := r.Override != nil && r.Override.Action != "strict" // the override replaces the owner's policy
	down := 0
	for _, h := range r.MX.Hosts {
		name := term.Clean(h.Name)
		if h.InPolicy != nil && !*h.InPolicy && !overridden {
			add(AdviceNotInPolicy, "add mx: %s to the policy, or take it out of the MX records", name)
		}
		if text, soon := expiring(now, h.TLS); soon {
			add(AdviceExpiring, "the certificate of %s %s", name, text)
		}
		if h.Probed && h.has(ProblemUnreachable) {
			down++
		}
	}
	if down > 0 && down == len(r.MX.Hosts) {
		add(AdvicePort25, "no MX host can be reached from here: many networks block outgoing port 25; run the check "+
			"on the mail server, or with --no-smtp")
	}
	return advice
}

// longMaxAge returns max_age as in the file, and true, if it is more than maxMaxAge.
func longMaxAge(lines []Line) (string, bool) {
	for _, l := range lines {
		value, ok := strings.CutPrefix(l.Text, "max_age:")
		if !ok || l.Verdict != "ok" {
			continue
		}
		value = strings.TrimSpace(value)
		n, err := strconv.ParseUint(value, 10, 64)
		return value, err == nil && n > maxMaxAge
	}
	return "", false
}

// expiring describes the first certificate of a connection that has expired or expires soon; false: there is none. The
// certificates of authorities that the server sent count too, except expired ones: if they matter, verification has
// failed, which is reported as a problem.
func expiring(now time.Time, t *TLS) (string, bool) {
	if t == nil {
		return "", false
	}
	for i, c := range t.Certificates {
		left := c.NotAfter.Sub(now)
		whose := ""
		if i > 0 {
			whose = "has an authority whose certificate "
		}
		switch {
		case left < 0 && i == 0:
			return "expired on " + day(c.NotAfter) + ": renew it", true
		case left >= 0 && left < expiryWarning:
			return fmt.Sprintf("%sexpires on %s, %s: renew it", whose, day(c.NotAfter), inDays(left)), true
		}
	}
	return "", false
}

// inDays returns a time from now in words.
func inDays(left time.Duration) string {
	switch days := int(left / (24 * time.Hour)); {
	case left < 0:
		return "expired"
	case days == 0:
		return "within a day"
	case days == 1:
		return "in 1 day"
	default:
		return fmt.Sprintf("in %d days", days)
	}
}
