package fetch

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Kind is what went wrong with a fetch, as far as callers treat it differently.
type Kind uint8

// The kinds of failed fetches, with the failure type of RFC 8460 section 4.3.2.2 that each is reported as.
const (
	Unreachable Kind = iota + 1 // DNS, connection, timeout, broken TLS or HTTP: sts-policy-fetch-error
	Certificate                 // the policy host's certificate: sts-webpki-invalid
	Refused                     // a status other than 200, redirects included: sts-policy-fetch-error
	MediaType                   // not text/plain, or encoded: sts-policy-fetch-error
	TooLarge                    // over 64 KiB: sts-policy-fetch-error
	Invalid                     // it breaks the grammar of RFC 8461 section 3.2: sts-policy-invalid
	HostFault                   // a fault of this host (fault.Of is not fault.Domain): not reported
	kindCount
)

// Kinds returns all kinds, in the order of their values.
func Kinds() []Kind {
	all := make([]Kind, 0, kindCount-1)
	for k := Unreachable; k < kindCount; k++ {
		all = append(all, k)
	}
	return all
}

// String returns a stable word for logs and metrics.
func (k Kind) String() string {
	if k == 0 || k >= kindCount {
		return "invalid_kind"
	}
	return [...]string{"", "unreachable", "certificate", "status", "media_type", "too_large", "invalid_policy",
		"host_fault"}[k]
}

// Error is why a policy could not be fetched. A live policy that is remembered still binds; without one the mail is
// delivered as if there were no policy (RFC 8461 section 3.3).
type Error struct {
	Domain dnsname.Name
	Kind   Kind
	// Err is the cause. Its text may be long and hold bytes that the policy host sent: show the text of Error instead.
	// Only for Unreachable may it name an address.
	Err error
	at  string // where it happened, "TLS handshake with 192.0.2.1:443"; "" if that says nothing
}

// Error implements error. The text is one line of printable characters, cut to a bounded length: what the policy host
// sent (a status line, the names in a certificate) may be in it.
func (e *Error) Error() string {
	what := e.Err.Error()
	if e.at != "" {
		what = e.at + ": " + what
	}
	return fmt.Sprintf("fetch %s: %s", PolicyURL(e.Domain), printable(what))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// printable makes one bounded line of a text that may come from the policy host.
func printable(s string) string {
	const limit = 600 // bytes
	rest := ""
	if len(s) > limit {
		s, rest = strings.ToValidUTF8(s[:limit], ""), "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s) + rest
}

// causes is several errors in one line; errors.Join would take a line for each.
type causes []error

func (c causes) Error() string {
	texts := make([]string, len(c))
	for i, err := range c {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (c causes) Unwrap() []error { return c }
