package mtasts

import (
	"errors"
	"strings"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Pattern is one mx field of a policy: a host name, or `*.` and a host name (RFC 8461 section 3.2). Names of one label,
// and names like IPv4 addresses, fit RFC 5321's Domain, to which the RFC refers. They match no host that has a
// certificate, but other patterns of their policy do: to refuse them would leave the domain unprotected.
type Pattern struct {
	Wildcard bool         // matches Host with any one label before it
	Host     dnsname.Name // never zero
}

// String returns the pattern as in policies, with the asterisk. It has only characters of [a-z0-9.*-].
func (p Pattern) String() string {
	if p.Wildcard {
		return "*." + p.Host.String()
	}
	return p.Host.String()
}

// Matches reports whether the pattern matches the host. `*.example.com` matches `mx.example.com`, but neither
// `example.com` nor `a.mx.example.com`: the asterisk matches exactly one left-most label (RFC 8461 section 4.1).
func (p Pattern) Matches(host dnsname.Name) bool {
	if host.IsZero() {
		return false
	}
	if !p.Wildcard {
		return p.Host == host
	}
	_, parent, _ := strings.Cut(host.String(), ".")
	return p.Host.String() == parent && parent != ""
}

// ParsePattern parses an MX pattern that is not part of a policy, by the same rules. Every error is a *SyntaxError.
func ParsePattern(s string) (Pattern, error) {
	p, msg := parsePattern(s)
	if msg != "" {
		return Pattern{}, &SyntaxError{Msg: msg}
	}
	return p, nil
}

// parsePattern parses the value of an mx field. Every pattern that it accepts is safe in a reply to Postfix. The string
// says what is wrong, "" if nothing is.
func parsePattern(s string) (Pattern, string) {
	host, wildcard := strings.CutPrefix(s, "*.")
	name, err := dnsname.ParseHost(host)
	if bad := (*dnsname.Error)(nil); errors.As(err, &bad) {
		return Pattern{}, "mx " + quote(s) + ` is neither a host name nor "*." and a host name: ` + bad.Msg
	}
	return Pattern{Wildcard: wildcard, Host: name}, ""
}
