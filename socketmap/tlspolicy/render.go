package tlspolicy

import (
	"fmt"
	"strings"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
)

// Render spells a verdict as Postfix reads it. It gives NOTFOUND where Postfix may go on as its own configuration says,
// TEMP where the mail must wait, and hangs up where the verdict is that stsmapd is closing.
func Render(f Features, v resolver.Verdict) socketmap.Reply {
	switch v.Outcome {
	case resolver.Enforce:
		if v.Override != nil {
			f.TLSRPT = false // no report must say that the domain published this
		}
		return secure(f, v.Held)
	case resolver.Testing, resolver.Waived, resolver.Absent, resolver.Unfetched, resolver.Ignored:
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

// secure is the answer for a live policy that binds, made once for each policy and spelling.
func secure(f Features, h *resolver.Held) socketmap.Reply {
	return socketmap.OK(h.Rendered.Text(slot(f), func() string { return secureText(f, h.Entry) }))
}

// slot tells the spellings of one policy apart.
func slot(f Features) int {
	n := 0
	if f.NoSNI {
		n |= 1
	}
	if f.TLSRPT {
		n |= 2
	}
	return n
}

// secureText spells a policy: the level and attributes that every Postfix knows, then those of Postfix 3.10. Where all
// of it is too long for a reply, the policy's lines are left out first: they only serve reports.
func secureText(f Features, e resolver.Entry) string {
	var b strings.Builder
	patterns := distinct(e.Policy.MX)
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

// distinct is the patterns in the policy's order, each once.
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

// policyStrings is one attribute for each line of the policy. Postfix reads a value with white space between braces.
func policyStrings(p mtasts.Policy) string {
	var b strings.Builder
	for _, line := range resolver.ReportLines(p) {
		b.WriteString(" { policy_string = ")
		b.WriteString(line)
		b.WriteString(" }")
	}
	return b.String()
}

// matchPattern spells a pattern for match=, where Postfix writes `.example.net` for `*.example.net`.
func matchPattern(p mtasts.Pattern) string {
	if p.Wildcard {
		return "." + p.Host.String()
	}
	return p.Host.String()
}
