package tlsrpt

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of ParseRecord, wrapped with what is wrong. All of them mean that the domain gets no reports (RFC 8460
// section 3); what is wrong matters to the domain's owner only, so a report is just not made, while a check of the
// domain shows it.
var (
	// ErrNoRecord: the domain does not ask for reports. Nothing is wrong.
	ErrNoRecord = errors.New("no TLSRPT record")
	// ErrMultipleRecords: there must be exactly one.
	ErrMultipleRecords = errors.New("more than one TLSRPT record")
	// ErrMalformed: the one record says nowhere that reports could be sent to.
	ErrMalformed = errors.New("malformed TLSRPT record")
)

const (
	recordVersion = "v=TLSRPTv1"
	wsp           = " \t" // WSP of RFC 5234
	maxRecord     = 4096  // bytes of a record; real ones have some 50 to 500, and a datagram must have room for it
)

// ParseRecord finds the one TLSRPT record among the TXT records of `_smtp._tls.<domain>`, each with its strings joined,
// and returns it as it stands there (RFC 8460 section 3). Records of other kinds are passed over. The record is
// printable ASCII (and tabs), at most 4096 bytes, and has a rua field that names a URI. What else it has is left to the
// collector, as Postfix leaves it: the two must agree on which domains get reports. Every error wraps ErrNoRecord,
// ErrMultipleRecords or ErrMalformed.
func ParseRecord(txts []string) (string, error) {
	var record, fields string
	var found int
	var bare bool
	for _, txt := range txts {
		rest, ok := strings.CutPrefix(txt, recordVersion)
		if !ok {
			continue
		}
		rest = strings.TrimLeft(rest, wsp)
		switch {
		case rest == "":
			bare = true
		case rest[0] == ';':
			found++
			record, fields = txt, rest[1:]
		}
	}
	switch {
	case found > 1:
		return "", fmt.Errorf("%w: %d of them", ErrMultipleRecords, found)
	case found == 1:
		if fault := recordFault(record, fields); fault != "" {
			return "", fmt.Errorf("%w: %s", ErrMalformed, fault)
		}
		return record, nil
	case bare:
		// By the letter of the RFC it is no TLSRPT record, for lack of the semicolon. Its owner is better served by
		// hearing what it lacks; beside a whole record it is not counted.
		return "", fmt.Errorf("%w: it has no rua field, only its version", ErrMalformed)
	}
	return "", ErrNoRecord
}

// recordFault says what keeps a record from being used, "" if nothing does. The fields are what follows the first
// semicolon.
func recordFault(record, fields string) string {
	if len(record) > maxRecord {
		return fmt.Sprintf("it is %d bytes long, more than %d", len(record), maxRecord)
	}
	for i := range len(record) {
		if c := record[i]; (c < ' ' || c > '~') && c != '\t' {
			return fmt.Sprintf("it has the byte 0x%02x, which is not printable ASCII", c)
		}
	}
	var rua bool
	for field := range strings.SplitSeq(fields, ";") {
		uris, ok := strings.CutPrefix(strings.Trim(field, wsp), "rua=")
		if !ok {
			continue
		}
		rua = true
		for uri := range strings.SplitSeq(uris, ",") {
			if isURI(strings.Trim(uri, wsp)) {
				return ""
			}
		}
	}
	if rua {
		return "its rua field names no URI (mailto:… or https:…)"
	}
	return "it has no rua field"
}

// isURI reports whether s begins with a scheme (RFC 3986 section 3.1) and goes on after it. Which schemes are of use is
// the collector's business.
func isURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || scheme == "" || rest == "" {
		return false
	}
	for i := range len(scheme) {
		c := scheme[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(scheme[i]))) {
			return false
		}
	}
	return true
}
