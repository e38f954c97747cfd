package mtasts

import (
	"strings"

	"github.com/stsmapd/stsmapd/resolver/txtrecord"
)

// Record is a valid `_mta-sts` TXT record (RFC 8461 section 3.1).
type Record struct {
	ID string // 1 to 32 letters and digits; another id means a changed policy
}

const recordVersion = "v=STSv1"

// ParseRecord finds and parses the one MTA-STS record among the TXT records of a name, each with its strings joined. It
// ignores records of other kinds (RFC 8461 section 3.1). The error is ErrNoRecord, ErrMultipleRecords or a
// *SyntaxError.
func ParseRecord(txts []string) (Record, error) {
	found := txtrecord.Find(txts, recordVersion)
	switch {
	case found.Count > 1:
		return Record{}, ErrMultipleRecords
	case found.Count == 1:
		return parseRecordFields(found.Fields)
	case found.BareVersion:
		return Record{}, &SyntaxError{Msg: "the MTA-STS record has no id field, only its version"}
	}
	return Record{}, ErrNoRecord
}

// parseRecordFields parses the fields after the version and its semicolon. White space is allowed around each semicolon
// and at the end, and the last semicolon is optional.
func parseRecordFields(s string) (Record, error) {
	var rec Record
	for more := true; more; {
		var field string
		field, s, more = strings.Cut(s, ";")
		field = trimWSP(field)
		if field == "" {
			if more {
				return Record{}, &SyntaxError{Msg: "the MTA-STS record has an empty field"}
			}
			break // after the last semicolon
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok || !isFieldName(name) || !isRecordValue(value) {
			return Record{}, &SyntaxError{Msg: "the MTA-STS record has " + quote(field) + " where name=value belongs"}
		}
		if name != "id" || rec.ID != "" {
			continue // unknown, or repeated: the first is used
		}
		if !isID(value) {
			return Record{}, &SyntaxError{
				Msg: "the MTA-STS record's id is " + quote(value) + ", not 1 to 32 letters and digits"}
		}
		rec.ID = value
	}
	if rec.ID == "" {
		return Record{}, &SyntaxError{Msg: "the MTA-STS record has no id field"}
	}
	return rec, nil
}

func isID(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 32
}

// isRecordValue reports whether s is a value. It implements sts-ext-value, which includes every id: printable ASCII
// without space, `=` and `;`.
func isRecordValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '=' || c == ';' {
			return false
		}
	}
	return s != ""
}
