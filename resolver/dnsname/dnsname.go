// Package dnsname holds the one form in which stsmapd keeps host names.
//
// A mail domain can be written in many ways that the DNS treats as one: in upper or lower case, with or without the
// final dot that marks the root, and, since internationalized names came, as U-labels (people's script:
// `bücher.example`) or as A-labels (`xn--bcher-kva.example`, the ASCII that the DNS really stores, RFC 5890 section
// 2.3.2.1). A policy that is remembered under one spelling and asked for under another would not be found, and mail
// would go out unprotected. So every name from outside passes through Parse once, and from there on only a Name is
// used: as key of memory and stores, in DNS questions, in MX patterns and in what Postfix is told.
//
// A Name is a host name in the sense of RFC 1123 section 2.1 (letters, digits and inner hyphens), not any name that the
// DNS could hold: no underscores, no spaces, no addresses. That is also what makes it safe to write into a reply.
package dnsname

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxName  = 253  // octets of a name in text form, without the final dot (RFC 1035 section 2.3.4)
	maxLabel = 63   // octets of a label (RFC 1035 section 2.3.4)
	maxInput = 1024 // bytes that Parse looks at: more than any spelling of a name that fits needs
	maxQuote = 64   // bytes of the input, or of the converter's error, that an Error keeps
)

// Name is a host name in the one form that stsmapd uses as a key: lower-case A-labels, two or more, without the final
// dot, at most 253 octets. Names are comparable; the zero Name is no name. Only Parse, UnmarshalText and Parent make
// others.
type Name struct{ s string }

// Error says why a text is no Name. No retry helps: for the DNS there is no such host, so there is no policy either.
type Error struct {
	Input string // as given, cut to 64 bytes; may hold any bytes: quote it
	Msg   string // what is wrong, printable, at most 256 bytes
}

// Error implements error. The text is printable and bounded whatever the input was.
func (e *Error) Error() string { return fmt.Sprintf("%q is no host name: %s", e.Input, e.Msg) }

// Parse turns a host name as people and Postfix write it (any case, U-labels, one final dot) into a Name. A name that
// is in that form already costs no allocation. U-labels are converted by UTS 46, non-transitional, and `。` and its kin
// count as dots. An IPv4 address, or anything else with a number as its last label, is no name. Every error is a
// *Error.
func Parse(s string) (Name, error) {
	if isCanonical(s) {
		return Name{s}, nil
	}
	n, msg := parseSlow(s)
	if msg != "" {
		return Name{}, &Error{Input: cut(s), Msg: msg}
	}
	return n, nil
}

// MustParse is Parse for tests and constants: it panics where Parse returns an error.
func MustParse(s string) Name {
	n, err := Parse(s)
	if err != nil {
		panic("dnsname: " + err.Error())
	}
	return n
}

// String returns the A-label form, "" for the zero Name.
func (n Name) String() string { return n.s }

// IsZero reports whether n is the zero Name.
func (n Name) IsZero() bool { return n.s == "" }

// Parent returns the name without its left-most label, and false when fewer than two labels would be left.
func (n Name) Parent() (Name, bool) {
	_, rest, _ := strings.Cut(n.s, ".")
	if !strings.Contains(rest, ".") {
		return Name{}, false
	}
	return Name{rest}, true
}

// MarshalText implements encoding.TextMarshaler: the A-label form, empty for the zero Name. It never fails.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler as the inverse of MarshalText: it reads what Parse reads, and empty
// text is the zero Name. Every error is a *Error; n is unchanged then.
func (n *Name) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = Name{}
		return nil
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*n = parsed
	return nil
}

// isCanonical reports whether s is the text of a Name, and has no A-labels to check.
func isCanonical(s string) bool { return !strings.Contains(s, acePrefix) && fault(s) == "" }

// parseSlow parses what is not in canonical form already, or has A-labels to check. The second result says what is
// wrong.
func parseSlow(s string) (Name, string) {
	if len(s) > maxInput {
		return Name{}, fmt.Sprintf("it is %d bytes long", len(s))
	}
	if !utf8.ValidString(s) {
		return Name{}, "it is not valid UTF-8"
	}
	if isASCII(s) {
		s = strings.TrimSuffix(strings.ToLower(s), ".")
		if msg := fault(s); msg != "" {
			return Name{}, msg
		}
		if !strings.Contains(s, acePrefix) {
			return Name{s}, ""
		}
	}
	ascii, err := toASCII(s)
	if err != nil {
		return Name{}, "not allowed by UTS 46: " + cut(strings.TrimPrefix(err.Error(), "idna: "))
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if msg := fault(ascii); msg != "" {
		return Name{}, msg
	}
	return Name{ascii}, ""
}

// fault says what keeps s from being the text of a Name, "" if nothing does. It does not look into A-labels.
func fault(s string) string {
	if s == "" {
		return "it is empty"
	}
	if len(s) > maxName {
		return fmt.Sprintf("it is %d octets long, more than %d", len(s), maxName)
	}
	rest, last := s, ""
	for more := true; more; {
		last, rest, more = strings.Cut(rest, ".")
		if msg := labelFault(last); msg != "" {
			return msg
		}
	}
	if len(last) == len(s) {
		return "it has only one label"
	}
	if isNumber(last) {
		return "its last label is a number, as in an IP address"
	}
	return ""
}

// labelFault says what keeps a label from being lower-case letters, digits and inner hyphens, 63 at most.
func labelFault(label string) string {
	if label == "" {
		return "it has an empty label"
	}
	if len(label) > maxLabel {
		return fmt.Sprintf("it has a label of %d octets, more than %d", len(label), maxLabel)
	}
	for i := range len(label) {
		c := label[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return "it has " + strconv.QuoteRuneToASCII(rune(c)) + ", which is not allowed in a host name"
		}
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return "it has a label that begins or ends with a hyphen"
	}
	return ""
}

// isNumber reports whether a label can be the end of an IPv4 address in one of the forms that inet_aton takes: a
// decimal, octal or hexadecimal number. No top-level domain looks like that (RFC 3696 section 2).
func isNumber(label string) bool {
	digits, isHex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		c := digits[i]
		if !('0' <= c && c <= '9' || isHex && 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// cut returns a copy of the beginning of s, at most 64 bytes, without half a rune at its end.
func cut(s string) string {
	if len(s) > maxQuote {
		end := maxQuote
		for end > maxQuote-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.Clone(s)
}
