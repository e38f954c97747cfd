// Package mtasts reads the two texts by which a mail domain says "deliver to me only over verified TLS": MTA-STS, RFC
// 8461.
//
// The first is a TXT record at `_mta-sts.<domain>`, for example `v=STSv1; id=20260101T000000`. It says that there is a
// policy, and its id changes whenever the policy does (section 3.1). ParseRecord reads it.
//
// The second is the policy, a small text file at `https://mta-sts.<domain>/.well-known/mta-sts.txt`: lines of `name:
// value` that give the version, the mode, for how many seconds a sender shall remember the policy, and which MX hosts
// are the domain's (section 3.2). ParsePolicy reads it, and Policy.Matches tells whether a host is one of them (section
// 4.1).
//
// Both come from strangers, and parts of the policy end up in what Postfix is told. The grammar is therefore kept to
// the letter, except where giving way can only mean more protection for the domain: blank lines, spaces at line ends, a
// missing last newline and any order of the fields are taken. There is no I/O and no clock here.
package mtasts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxBody       = 64 << 10   // bytes (RFC 8461 section 3.3 suggests the limit)
	maxAgeSeconds = 31_557_600 // one year, the most that a policy may ask for (section 3.2)
	maxAgeDigits  = 10         // section 3.2; the value is capped (erratum 7282)
	maxFieldName  = 32         // octets of a field's name (sections 3.1 and 3.2)
)

// Policy is a valid MTA-STS policy (RFC 8461 section 3.2); only ParsePolicy makes one.
type Policy struct {
	Mode   Mode
	MX     []Pattern     // in the policy's order; never empty unless Mode is ModeNone
	MaxAge time.Duration // whole seconds, 0 to 31557600 s
	Text   string        // as served, valid UTF-8, at most 64 KiB
}

// ParsePolicy parses a policy body as fetched by HTTPS. Unknown fields are ignored; of a repeated field other than mx
// the first counts (RFC 8461 section 3.2). Every error is a *SyntaxError.
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
		if msg := p.line(line); msg != "" {
			return Policy{}, &SyntaxError{Line: number, Msg: msg}
		}
	}
	if msg := p.missing(); msg != "" {
		return Policy{}, &SyntaxError{Msg: msg}
	}
	return p.policy, nil
}

// Lines returns the policy's lines in order, without line ends, spaces at the ends and blank lines; tabs, which may
// stand only before a value, are turned into spaces. The lines are valid UTF-8 without ASCII control characters; in the
// value of an unknown or repeated field anything else may stand, braces and the control characters U+0080 to U+009F
// included (RFC 8461 section 3.2 allows them).
func (p Policy) Lines() []string {
	var lines []string
	for line := range strings.Lines(p.Text) {
		if line = trimLine(line); line != "" {
			lines = append(lines, strings.ReplaceAll(line, "\t", " "))
		}
	}
	return lines
}

// policyParser is a policy in the making, and which of its fields have been seen.
type policyParser struct {
	policy                Policy
	version, mode, maxAge bool
}

// line takes one line that is not blank; the string says what is wrong with it.
func (p *policyParser) line(line string) string {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return quote(line) + " has no colon between a name and a value"
	}
	if !isFieldName(name) {
		return quote(name) + " is no field name"
	}
	value = trimLeftWSP(value)
	if msg := valueFault(value); msg != "" {
		return "the value of " + quote(name) + " " + msg
	}
	switch name {
	case "version":
		return p.setVersion(value)
	case "mode":
		return p.setMode(value)
	case "max_age":
		return p.setMaxAge(value)
	case "mx":
		return p.addMX(value)
	}
	return ""
}

func (p *policyParser) setVersion(value string) string {
	if !p.version && value != "STSv1" {
		return "version is " + quote(value) + ", not STSv1"
	}
	p.version = true
	return ""
}

func (p *policyParser) setMode(value string) string {
	if p.mode {
		return ""
	}
	if p.policy.Mode, p.mode = parseMode(value); !p.mode {
		return modeFault(value)
	}
	return ""
}

func (p *policyParser) setMaxAge(value string) string {
	if p.maxAge {
		return ""
	}
	seconds, err := strconv.ParseUint(value, 10, 64) // takes no sign
	if err != nil || len(value) > maxAgeDigits {
		return "max_age is " + quote(value) + ", not 1 to 10 digits"
	}
	p.policy.MaxAge = time.Duration(min(seconds, maxAgeSeconds)) * time.Second
	p.maxAge = true
	return ""
}

func (p *policyParser) addMX(value string) string {
	pattern, msg := parsePattern(value)
	if msg != "" {
		return msg
	}
	p.policy.MX = append(p.policy.MX, pattern)
	return ""
}

// missing says which required field no line had.
func (p *policyParser) missing() string {
	switch {
	case !p.version:
		return "the policy has no version field"
	case !p.mode:
		return "the policy has no mode field"
	case !p.maxAge:
		return "the policy has no max_age field"
	case len(p.policy.MX) == 0 && p.policy.Mode != ModeNone:
		return "the policy has no mx field, which mode " + p.policy.Mode.String() + " needs"
	}
	return ""
}

// valueFault implements sts-policy-ext-value, which takes in every other value: UTF-8, not empty, inner spaces but no
// tabs nor other ASCII control characters.
func valueFault(s string) string {
	if s == "" {
		return "is empty"
	}
	if !utf8.ValidString(s) {
		return "is not valid UTF-8: " + quote(s)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return "has a control character: " + quote(s)
		}
	}
	return ""
}

// trimLine removes a line's end, LF or CRLF (erratum 6253), and the white space before it.
func trimLine(line string) string {
	line, ended := strings.CutSuffix(line, "\n")
	if ended {
		line = strings.TrimSuffix(line, "\r")
	}
	return strings.TrimRight(line, wsp)
}
