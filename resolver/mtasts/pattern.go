package mtasts

import (
	"errors"
	"strings"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Pattern is one mx field of a policy: a host name, or `*.` and a host name (RFC 8461 section 3.2).
type Pattern struct {
	Wildcard bool         // any one label may stand before Host
	Host     dnsname.Name // never zero
}

// String returns the pattern as policies spell it, asterisk included. It has no characters but [a-z0-9.*-].
func (p Pattern) String() string {
	if p.Wildcard {
		return "*." + p.Host.String()
	}
	return p.Host.String()
}

// Matches reports whether the pattern names the host. `*.example.com` names `mx.example.com`, but neither `example.com`
// nor `a.mx.example.com`: the asterisk stands for exactly one left-most label (RFC 8461 section 4.1).
func (p Pattern) Matches(host dnsname.Name) bool {
	if host.IsZero() {
		return false
	}
	if !p.Wildcard {
		return p.Host == host
	}
	parent, ok := host.Parent()
	return ok && p.Host == parent
}

// Matches reports whether the policy names the MX host (RFC 8461 section 4.1). The mode does not matter here.
func (p Policy) Matches(host dnsname.Name) bool {
	for _, pattern := range p.MX {
		if pattern.Matches(host) {
			return true
		}
	}
	return false
}

// ParsePattern parses an MX pattern that does not come from a policy file, by the rules for those. Every error is a
// *SyntaxError.
func ParsePattern(s string) (Pattern, error) {
	p, msg := parsePattern(s)
	if msg != "" {
		return Pattern{}, &SyntaxError{Msg: msg}
	}
	return p, nil
}

// parsePattern parses the value of an mx field. Whatever it accepts is safe in a reply to Postfix; the string says what
// is wrong with the rest.
func parsePattern(s string) (Pattern, string) {
	host, wildcard := strings.CutPrefix(s, "*.")
	name, err := dnsname.Parse(host)
	if bad := (*dnsname.Error)(nil); errors.As(err, &bad) {
		return Pattern{}, "mx " + quote(s) + ` is neither a host name nor "*." and a host name: ` + bad.Msg
	}
	return Pattern{Wildcard: wildcard, Host: name}, ""
}
