// Package dnsname defines Name, the canonical form of host names.
//
// A mail domain can be written in several ways that the DNS treats as equal: in upper or lower case, with or without
// the final dot of the root, and with U-labels (`bücher.example`) or A-labels (`xn--bcher-kva.example`, the ASCII that
// the DNS stores, RFC 5890 section 2.3.2.1). If a policy were cached under one form and looked up under another, it
// would not be found, and mail would be sent unprotected. So every name from outside is parsed once, and a Name is used
// everywhere: as key of memory and stores, in DNS questions, in MX patterns and in replies to Postfix.
//
// A label in ASCII is taken as it is, as the DNS and Postfix take it. That it begins with "xn--" means nothing here: a
// registry may have A-labels of a newer Unicode version than this program.
//
// A Name is a host name in the sense of RFC 1123 section 2.1 (letters, digits and inner hyphens), not any name that the
// DNS can represent: no underscores, no spaces, no addresses. So it is also safe in a reply to Postfix.
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
	maxInput = 1024 // bytes that Parse reads; every form of a valid name is shorter
	maxQuote = 64   // bytes of the input, or of the converter's error, that an Error keeps
)

// Name is a host name in canonical form: lower-case ASCII labels without the final dot, at most 253 octets; two or more
// of them, unless ParseHost made it. Names can be compared with ==. The zero Name is not a name; Parse, ParseHost,
// UnmarshalText and Parent make all others.
type Name struct{ s string }

// Error says why a text is not a Name. The DNS cannot have such a host, so it has no policy, and a retry does not help.
type Error struct {
	Input string // cut to 64 bytes; it may contain any bytes: quote it
	Msg   string // what is wrong, printable, at most 256 bytes
}

// Error implements error. The text is printable and bounded for any input.
func (e *Error) Error() string { return fmt.Sprintf("%q is no host name: %s", e.Input, e.Msg) }

// Parse parses a host name as people and Postfix write it: in any case, with U-labels, with or without a final dot. A
// canonical name does not allocate. Only U-labels and other dots such as `。` are converted, by UTS 46,
// non-transitional. An IPv4 address, like anything whose last label is a number, is not a name. Every error is an
// *Error.
func Parse(s string) (Name, error) {
	if nameFault(s) == "" {
		return Name{s}, nil
	}
	n, msg := parseSlow(s, nameFault)
	if msg != "" {
		return Name{}, &Error{Input: cut(s), Msg: msg}
	}
	return n, nil
}

// ParseHost is Parse for the name of an MX host, by the grammar of RFC 5321's Domain (section 4.1.2), which has names
// of one label, `localhost`, and names like addresses, `192.0.2.1`. No policy domain has such a name, and no mail
// exchanger with a valid certificate. Every error is an *Error.
func ParseHost(s string) (Name, error) {
	n, msg := parseSlow(s, hostFault)
	if msg != "" {
		return Name{}, &Error{Input: cut(s), Msg: msg}
	}
	return n, nil
}

// ParseBytes is Parse for bytes; it reports whether they are a name. The Name does not refer to them. It allocates once
// for bytes in canonical form, and for an address.
func ParseBytes(b []byte) (Name, bool) {
	s := string(b)
	if nameFault(s) == "" {
		return Name{s}, true
	}
	n, msg := parseSlow(s, nameFault)
	return n, msg == ""
}

// MustParse is Parse for tests and constants. It panics if Parse returns an error.
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

// Parent returns the name without its left-most label. It returns false if fewer than two labels would be left.
func (n Name) Parent() (Name, bool) {
	_, rest, _ := strings.Cut(n.s, ".")
	if !strings.Contains(rest, ".") {
		return Name{}, false
	}
	return Name{rest}, true
}

// MarshalText implements encoding.TextMarshaler. It returns the A-label form, empty for the zero Name, and never fails.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It parses text as Parse does; empty text is the zero Name. Every
// error is an *Error, and leaves n unchanged.
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

// parseSlow parses a name that need not be canonical. fault says what is wrong with the text of a Name, as does the
// second result; "" if nothing is.
func parseSlow(s string, fault func(string) string) (Name, string) {
	if len(s) > maxInput {
		return Name{}, fmt.Sprintf("it is %d bytes long", len(s))
	}
	if !utf8.ValidString(s) {
		return Name{}, "it is not valid UTF-8"
	}
	ascii := strings.ToLower(s)
	if !isASCII(s) {
		var err error
		if ascii, err = toASCII(s); err != nil {
			return Name{}, "not allowed by UTS 46: " + cut(strings.TrimPrefix(err.Error(), "idna: "))
		}
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if msg := fault(ascii); msg != "" {
		return Name{}, msg
	}
	return Name{ascii}, ""
}

// nameFault says why s is not the text of a Name of two or more labels, "" if it is.
func nameFault(s string) string {
	if msg := hostFault(s); msg != "" {
		return msg
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	if len(last) == len(s) {
		return "it has only one label"
	}
	if isNumber(last) {
		return "its last label is a number, as in an IP address"
	}
	return ""
}

// hostFault says why s is not the text of a Name, "" if it is.
func hostFault(s string) string {
	if s == "" {
		return "it is empty"
	}
	if len(s) > maxName {
		return fmt.Sprintf("it is %d octets long, more than %d", len(s), maxName)
	}
	label, rest := "", s
	for more := true; more; {
		label, rest, more = strings.Cut(rest, ".")
		if msg := labelFault(label); msg != "" {
			return msg
		}
	}
	return ""
}

// labelFault says why a label is not 1 to 63 lower-case letters, digits and inner hyphens, "" if it is.
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

// isNumber reports whether a label can be the last part of an IPv4 address as inet_aton parses it: a decimal, octal or
// hexadecimal number. No top-level domain is a number (RFC 3696 section 2).
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

// cut returns a copy of s, cut to at most 64 bytes, not inside a rune.
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
