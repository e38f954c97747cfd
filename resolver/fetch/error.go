package fetch

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"unicode"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
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
	// Only for Unreachable may it name an address. Where several addresses failed, it is that of the one which says
	// most.
	Err   error
	stage string // what was being done then, "TLS handshake with"; "" if that says nothing
	text  string // what each address did; "": Err says it
}

// newError returns the error of a fetch that failed. A fault of this host is none of the domain.
func newError(domain dnsname.Name, failed failures) *Error {
	d := failed.decisive()
	e := &Error{Domain: domain, Kind: d.kind, Err: d.err, stage: d.stage, text: failed.Error()}
	if fault.Of(d.err) != fault.Domain {
		e.Kind = HostFault
	}
	return e
}

// Error implements error. The text is one line of printable characters, cut to a bounded length: what the policy host
// sent (a status line, the names in a certificate) may be in it.
func (e *Error) Error() string {
	what := e.text
	if what == "" {
		what = e.Err.Error()
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

// failure is one attempt that failed, or one lookup of addresses.
type failure struct {
	stage string // what was being done, "TLS handshake with"; "" if that says nothing
	host  string // the address or name with which it was done
	kind  Kind
	err   error
	seen  seen
}

func (f *failure) where() string { return strings.TrimSpace(f.stage + " " + f.host) }

// failures are all attempts of a fetch that failed, in the order in which they ended.
type failures []*failure

// Error tells in one line what each address did; addresses that did the same are told together.
func (f failures) Error() string {
	var texts []string
	for i, one := range f {
		same := func(o *failure) bool { return o.stage == one.stage && o.reason() == one.reason() }
		if slices.ContainsFunc(f[:i], same) {
			continue
		}
		where := one.where()
		for _, o := range f[i+1:] {
			if same(o) && o.host != one.host {
				where += ", " + o.host
			}
		}
		if where != "" {
			where += ": "
		}
		texts = append(texts, where+one.reason())
	}
	return strings.Join(texts, "; ")
}

// reason is the error without the address, which stands before it.
func (f *failure) reason() string {
	if op := (*net.OpError)(nil); errors.As(f.err, &op) && op.Op == "dial" && f.host != "" {
		return op.Err.Error()
	}
	return f.err.Error()
}

// decisive returns the failure that says most: one by which it is not known what another address would have said
// (fault.Exhausted); else one of the domain, the further it got the more it says; else one of this host.
func (f failures) decisive() *failure {
	rank := func(o *failure) int {
		switch fault.Of(o.err) {
		case fault.Exhausted:
			return 100
		case fault.Host:
			return 0
		}
		switch {
		case o.kind != Unreachable:
			return 20 - int(o.kind) // a certificate says more than a status
		case o.stage == "": // no address, or one that may not be connected to
			return 1
		case strings.HasPrefix(o.stage, "connect"):
			return 2
		}
		return 3
	}
	return slices.MaxFunc(f, func(a, b *failure) int { return rank(a) - rank(b) })
}
