package mtasts

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// policyParser is a policy that is being parsed, and the fields found so far.
type policyParser struct {
	policy                    Policy
	version, mode, maxAge, mx bool
}

// parseLine parses one line that is not blank. It returns what is wrong, "" if nothing is.
func (p *policyParser) parseLine(line string) string {
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
	seconds, err := strconv.ParseUint(value, 10, 64) // accepts no sign
	if err != nil || len(value) > maxAgeDigits {
		return "max_age is " + quote(value) + ", not 1 to 10 digits"
	}
	p.policy.MaxAge = time.Duration(min(seconds, maxAgeSeconds)) * time.Second
	p.maxAge = true
	return ""
}

func (p *policyParser) addMX(value string) string {
	_, msg := parsePattern(value)
	p.mx = p.mx || msg == ""
	return msg
}

// missing says which required field is missing, "" if none is.
func (p *policyParser) missing() string {
	switch {
	case !p.version:
		return "the policy has no version field"
	case !p.mode:
		return "the policy has no mode field"
	case !p.maxAge:
		return "the policy has no max_age field"
	case !p.mx && p.policy.Mode != ModeNone:
		return "the policy has no mx field, which mode " + p.policy.Mode.String() + " needs"
	}
	return ""
}

// valueFault says why s is not a value, "" if it is. It implements sts-policy-ext-value, which includes all other
// values: UTF-8, not empty, without tabs and other ASCII control characters.
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

// explainLine parses one line, also a blank one, and returns what it is.
func (p *policyParser) explainLine(number int, text string) Line {
	l := Line{Number: number, Text: text, Verdict: LineBlank}
	if text == "" {
		return l
	}
	if name, value, ok := strings.Cut(text, ":"); ok {
		l.Name, l.Value = name, trimLeftWSP(value)
	}
	l.Verdict = LineCounts
	switch seen, known := p.seen(l.Name); {
	case !known:
		l.Verdict = LineUnknown
	case seen:
		l.Verdict = LineRepeated
	}
	if l.Msg = p.parseLine(text); l.Msg != "" {
		l.Verdict = LineWrong
	}
	return l
}

// seen reports whether a field that may occur once was found before, and whether RFC 8461 defines the field.
func (p *policyParser) seen(name string) (seen, known bool) {
	switch name {
	case "version":
		return p.version, true
	case "mode":
		return p.mode, true
	case "max_age":
		return p.maxAge, true
	case "mx":
		return false, true
	}
	return false, false
}
