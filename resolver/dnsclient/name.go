package dnsclient

import (
	"strings"

	"github.com/miekg/dns"
)

// maxNameWire is how many bytes a name may have in a message (RFC 1035 section 2.3.4).
const maxNameWire = 255

// canonical returns the one spelling that we compare names in: lower case, with the final dot, escaped as the library
// escapes the names of answers. false: no message can carry the name.
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

// sameName compares two names that the library unpacked, or canonical made: both are ASCII (RFC 1035 section 2.3.3).
func sameName(a, b string) bool { return strings.EqualFold(a, b) }

// unescape undoes what the library does to the strings of records: \DDD and \c become the bytes they stand for.
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
