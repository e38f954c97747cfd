package dnsclient

import (
	"strings"

	"github.com/miekg/dns"
)

// maxNameWire is the largest size of a name in a message in bytes (RFC 1035 section 2.3.4).
const maxNameWire = 255

// canonical returns the form in which names are compared: lower case, with the final dot, escaped as the library
// escapes the names of answers. It returns false if a message cannot contain the name.
func canonical(name string) (string, bool) {
	if name == "" {
		return "", false
	}
	var wire [maxNameWire]byte
	if _, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false); err != nil {
		return "", false
	}
	s, _, err := dns.UnpackDomainName(wire[:], 0)
	if err != nil {
		return "", false
	}
	return dns.CanonicalName(s), true
}

// sameName reports whether two names are equal without regard to case (RFC 1035 section 2.3.3). Both come from the
// library or canonical, so they are ASCII.
func sameName(a, b string) bool { return strings.EqualFold(a, b) }

// unescape undoes the library's escaping of the strings of records: it replaces \DDD and \c by the bytes they mean.
func unescape(s string) string {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for ; i >= 0; i = strings.IndexByte(s, '\\') {
		b = append(b, s[:i]...)
		s = s[i+1:]
		switch {
		case len(s) >= 3 && isDigit(s[0]) && isDigit(s[1]) && isDigit(s[2]):
			b = append(b, (s[0]-'0')*100+(s[1]-'0')*10+(s[2]-'0'))
			s = s[3:]
		case s != "":
			b = append(b, s[0])
			s = s[1:]
		}
	}
	return string(append(b, s...))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
