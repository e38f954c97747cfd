package tlsrpt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stsmapd/stsmapd/resolver/txtrecord"
)

// The errors of ParseRecord, wrapped with what is wrong. The domain gets no reports (RFC 8460 section 3). Only its
// owner can correct that, so the daemon makes no report and does not log it; a check of the domain shows it.
var (
	// ErrNoRecord: the domain does not ask for reports, which is not a fault.
	ErrNoRecord = errors.New("no TLSRPT record")
	// ErrMultipleRecords: the domain has more than one record.
	ErrMultipleRecords = errors.New("more than one TLSRPT record")
	// errMalformed: the record names no address for reports.
	errMalformed = errors.New("malformed TLSRPT record")
)

const (
	recordVersion = "v=TLSRPTv1"
	maxRecord     = 4096 // bytes of a record; real ones have 50 to 500, and a record must fit into a datagram
)

// ParseRecord finds the one TLSRPT record among the TXT records of `_smtp._tls.<domain>`, each with its strings joined,
// and returns it unchanged (RFC 8460 section 3). It ignores records of other kinds. The record must be printable ASCII
// (and tabs), have at most 4096 bytes, and have a rua field with a URI. The rest is not checked, as in Postfix: the two
// must agree on which domains get reports. The error wraps ErrNoRecord or ErrMultipleRecords, or says what is
// malformed.
func ParseRecord(txts []string) (string, error) {
	found := txtrecord.Find(txts, recordVersion)
	switch {
	case found.Count > 1:
		return "", fmt.Errorf("%w: %d of them", ErrMultipleRecords, found.Count)
	case found.Count == 1:
		if fault := recordFault(found.Record, found.Fields); fault != "" {
			return "", fmt.Errorf("%w: %s", errMalformed, fault)
		}
		return found.Record, nil
	case found.BareVersion:
		return "", fmt.Errorf("%w: it has no rua field, only its version", errMalformed)
	}
	return "", ErrNoRecord
}

// recordFault says why a record cannot be used, "" if it can. fields is the part after the first semicolon.
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
		uris, ok := strings.CutPrefix(strings.Trim(field, txtrecord.WSP), "rua=")
		if !ok {
			continue
		}
		rua = true
		for uri := range strings.SplitSeq(uris, ",") {
			if isURI(strings.Trim(uri, txtrecord.WSP)) {
				return ""
			}
		}
	}
	if rua {
		return "its rua field names no URI (mailto:… or https:…)"
	}
	return "it has no rua field"
}

// isURI reports whether s is a scheme (RFC 3986 section 3.1), a colon and at least one byte more. The collector decides
// which schemes it supports.
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
