package check

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

const (
	daySeconds = 24 * 60 * 60
	maxMaxAge  = 31_557_600 // seconds (RFC 8461 section 3.2)
	// expirySoon is when a certificate should long have been renewed.
	expirySoon = 14 * 24 * time.Hour
)

// advise is what the domain's owner should mend, as far as the report shows it. sameID: the file has changed since the
// daemon last fetched it, and the id of the record has not.
func advise(now time.Time, r *Report, sameID bool) []Advice {
	advice := []Advice{}
	add := func(code AdviceCode, format string, args ...any) {
		advice = append(advice, Advice{code, fmt.Sprintf(format, args...)})
	}
	if p := r.Policy; p != nil {
		if p.Status == "ok" && p.Mode != "none" && p.MaxAge < daySeconds {
			add(AdviceShortMaxAge, "max_age is %d seconds, less than a day: senders that write seldom have forgotten "+
				"the policy each time, and an attacker "+
				"can hide it from them; take weeks (RFC 8461 section 3.2)", p.MaxAge)
		}
		if raw, long := longMaxAge(p.Lines); long {
			add(AdviceLongMaxAge, "max_age is %s seconds, more than a year: senders take it for %d (RFC 8461 section "+
				"3.2)", clean(raw), maxMaxAge)
		}
		if p.Status == fetch.MediaType.String() {
			add(AdviceMediaType, "serve %s as text/plain (RFC 8461 section 3.2): there are senders that take nothing "+
				"else", p.URL)
		}
		if text, soon := expiring(now, p.TLS); soon {
			add(AdviceExpiring, "the certificate of %s %s", p.Host, text)
		}
		if sameID {
			add(AdviceSameID, "the policy file has changed, and the id of %s has not (%s): senders that know the old "+
				"file keep it until "+
				"they fetch it again of their own accord; give it a new id", r.Record.Name, r.Record.ID)
		}
	}
	overruled := r.Override != nil && r.Override.Action != "strict" // then it is not the owner's policy that counts
	down := 0
	for _, h := range r.MX.Hosts {
		name := clean(h.Name)
		if h.InPolicy != nil && !*h.InPolicy && !overruled {
			add(AdviceNotInPolicy, "add mx: %s to the policy, or take it out of the MX records", name)
		}
		if text, soon := expiring(now, h.TLS); soon {
			add(AdviceExpiring, "the certificate of %s %s", name, text)
		}
		if h.LookedAt && h.has(ProblemUnreachable) {
			down++
		}
	}
	if down > 0 && down == len(r.MX.Hosts) {
		add(AdvicePort25, "no MX host could be connected to from here: many networks let no port 25 out; run the "+
			"check on the mail server, or with --no-smtp")
	}
	return advice
}

// longMaxAge returns the max_age as it stands in the file where it is more than counts.
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

// expiring says when the first certificate that ends soon does; false: none does. An authority's counts too, if the
// server sends it, unless it has ended: then the others did without it, or it is told of as the fault that it is.
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
		case left >= 0 && left < expirySoon:
			return fmt.Sprintf("%sexpires on %s, %s: renew it", whose, day(c.NotAfter), inDays(left)), true
		}
	}
	return "", false
}

// inDays is a time from now in words.
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
