package tlspolicy

import (
	"fmt"
	"strings"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
)

// Render returns a verdict as a reply that Postfix understands: NOTFOUND if Postfix may deliver as its own
// configuration says, TEMP if the mail must wait, and Hangup if stsmapd is shutting down.
func Render(f Features, v resolver.Verdict) socketmap.Reply {
	switch v.Outcome {
	case resolver.Enforce:
		if v.Override != nil {
			f.TLSRPT = false // the domain did not publish this policy, so no report may say that it did
		}
		return secure(f, v.Policy)
	case resolver.Testing, resolver.None, resolver.Absent, resolver.Unfetched, resolver.Ignored:
		return socketmap.NotFound()
	case resolver.Unknown, resolver.Unable:
		if !f.Defer {
			return socketmap.NotFound()
		}
		if v.Outcome == resolver.Unable {
			return socketmap.Temp(reason("MTA-STS: this host cannot look for the domain's policy", v))
		}
		return socketmap.Temp(reason("MTA-STS: cannot find out whether the domain has a policy", v))
	case resolver.DANEOnly:
		return socketmap.OK("dane-only")
	case resolver.DANEUnknown:
		return socketmap.Temp(reason("DANE: cannot look up the MX hosts' TLSA records", v))
	case resolver.Closing:
		return socketmap.Hangup()
	default:
		return socketmap.Temp(reason("stsmapd cannot answer now", v))
	}
}

func reason(what string, v resolver.Verdict) string {
	if v.Reason == nil {
		return what
	}
	return fmt.Sprintf("%s: %v", what, v.Reason)
}

// secure returns the reply for an enforced policy. Its text is made once for each policy and set of attributes.
func secure(f Features, h *resolver.CachedPolicy) socketmap.Reply {
	return socketmap.OK(h.Rendered(renderedSlot(f), func() string { return secureText(f, h.Entry()) }))
}

// renderedSlot returns where the text for these features is kept.
func renderedSlot(f Features) int {
	n := 0
	if f.NoSNI {
		n |= 1
	}
	if f.TLSRPT {
		n |= 2
	}
	return n
}

// secureText returns the level and attributes of a policy: those that every Postfix knows, then those of Postfix 3.10.
// If the text is too long for a reply, the policy's lines are left out: they are used only in reports.
func secureText(f Features, e resolver.Entry) string {
	var b strings.Builder
	patterns := distinct(e.Policy.MX())
	b.WriteString("secure match=")
	for i, p := range patterns {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(matchPattern(p))
	}
	if !f.NoSNI {
		b.WriteString(" servername=hostname")
	}
	if !f.TLSRPT {
		return b.String()
	}
	b.WriteString(" policy_type=sts policy_domain=")
	b.WriteString(e.Domain.String())
	for _, p := range patterns {
		b.WriteString(" mx_host_pattern=")
		b.WriteString(p.String())
	}
	lines := policyStrings(e.Policy)
	if b.Len()+len(lines) <= socketmap.MaxData {
		b.WriteString(lines)
	}
	return b.String()
}

// distinct returns the patterns in the policy's order, without duplicates.
func distinct(mx []mtasts.Pattern) []mtasts.Pattern {
	out := make([]mtasts.Pattern, 0, len(mx))
	seen := make(map[mtasts.Pattern]bool, len(mx))
	for _, p := range mx {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// policyStrings returns one attribute for each line of the policy. Braces enclose a value that contains spaces.
func policyStrings(p mtasts.Policy) string {
	var b strings.Builder
	for _, line := range resolver.ReportLines(p) {
		b.WriteString(" { policy_string = ")
		b.WriteString(line)
		b.WriteString(" }")
	}
	return b.String()
}

// matchPattern returns a pattern as match= needs it: `.example.net` for `*.example.net`.
func matchPattern(p mtasts.Pattern) string {
	host := p.Host.String()
	switch {
	case p.Wildcard:
		return "." + host
	case host == "hostname" || host == "nexthop" || host == "dot-nexthop":
		// To Postfix these names are strategies, of which the first accepts every MX host. A name below .invalid
		// (RFC 6761) has no certificate.
		return host + ".invalid"
	}
	return host
}
