// Package mtasts parses the two texts of MTA-STS (RFC 8461), with which a mail domain asks for delivery over verified
// TLS only.
//
// The first is a TXT record at `_mta-sts.<domain>`, for example `v=STSv1; id=20260101T000000`. It announces a policy,
// and its id changes with the policy (section 3.1). ParseRecord parses it.
//
// The second is the policy, a small text file at `https://mta-sts.<domain>/.well-known/mta-sts.txt`. Its lines, `name:
// value`, give the version, the mode, the number of seconds for which a sender caches the policy, and the MX hosts of
// the domain (section 3.2). ParsePolicy parses it, and Policy.Matches reports whether the policy names a host (section
// 4.1).
//
// Both texts are untrusted, and parts of the policy are sent to Postfix. So the parsers are strict, except where
// leniency can only protect the domain better: they accept blank lines, spaces at the end of lines, a missing last
// newline and any order of the fields. The package has no I/O and reads no clock.
package mtasts

import (
	"fmt"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	maxBody       = 64 << 10   // bytes (RFC 8461 section 3.3 suggests the limit)
	maxAgeSeconds = 31_557_600 // one year, the largest max_age (section 3.2)
	maxAgeDigits  = 10         // section 3.2; a larger value is capped (erratum 7282)
	maxFieldName  = 32         // octets of a field's name (sections 3.1 and 3.2)
)

// Policy is a valid MTA-STS policy (RFC 8461 section 3.2), made by ParsePolicy or Enforcing. Its patterns are in the
// text, from which MX takes them: policies are remembered by the hundred thousand, and asked for their patterns once.
type Policy struct {
	Mode   Mode
	MaxAge time.Duration // whole seconds, 0 to 31557600 s
	Text   string        // as served, valid UTF-8, at most 64 KiB
}

// ParsePolicy parses the body of a policy. It ignores unknown fields, and repetitions of fields other than mx (RFC 8461
// section 3.2). Every error is a *SyntaxError.
func ParsePolicy(body []byte) (Policy, error) {
	if len(body) > maxBody {
		return Policy{}, &SyntaxError{Msg: fmt.Sprintf("the policy is %d bytes long, more than %d", len(body), maxBody)}
	}
	p := policyParser{policy: Policy{Text: string(body)}}
	number := 0
	for line := range strings.Lines(p.policy.Text) {
		number++
		line = trimLine(line)
		if line == "" {
			continue
		}
		if msg := p.parseLine(line); msg != "" {
			return Policy{}, &SyntaxError{Line: number, Msg: msg}
		}
	}
	if msg := p.missing(); msg != "" {
		return Policy{}, &SyntaxError{Msg: msg}
	}
	return p.policy, nil
}

// Enforcing returns a policy of mode enforce with these patterns, one or more, which no domain has published. Its
// MaxAge is 0.
func Enforcing(mx []Pattern) Policy {
	var text strings.Builder
	text.WriteString("version: STSv1\nmode: enforce\nmax_age: 0\n")
	for _, pattern := range mx {
		text.WriteString("mx: " + pattern.String() + "\n")
	}
	return Policy{Mode: ModeEnforce, Text: text.String()}
}

// MX returns the policy's patterns in its order; none only if Mode is ModeNone.
func (p Policy) MX() []Pattern {
	mx := make([]Pattern, 0, strings.Count(p.Text, "\nmx")+1)
	for line := range strings.Lines(p.Text) {
		if name, value, _ := strings.Cut(trimLine(line), ":"); name == "mx" {
			pattern, _ := parsePattern(trimLeftWSP(value)) // ParsePolicy has refused what is wrong
			mx = append(mx, pattern)
		}
	}
	return mx
}

// Lines returns the policy's lines in order, without blank lines, line ends and white space before them. Tabs, which
// are allowed only before a value, become spaces. The lines are valid UTF-8 without ASCII control characters. The value
// of an unknown or repeated field may contain any other character, also braces and the control characters U+0080 to
// U+009F (RFC 8461 section 3.2 allows them).
func (p Policy) Lines() []string {
	var lines []string
	for line := range strings.Lines(p.Text) {
		if line = trimLine(line); line != "" {
			lines = append(lines, strings.ReplaceAll(line, "\t", " "))
		}
	}
	return lines
}

// Matches reports whether a pattern of the policy matches the MX host (RFC 8461 section 4.1), in any mode.
func (p Policy) Matches(host dnsname.Name) bool {
	for _, pattern := range p.MX() {
		if pattern.Matches(host) {
			return true
		}
	}
	return false
}
