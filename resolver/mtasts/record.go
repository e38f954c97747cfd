package mtasts

import "strings"

// Record is a valid `_mta-sts` TXT record (RFC 8461 section 3.1).
type Record struct {
	ID string // 1 to 32 letters and digits; only good to be compared with another: a change means a changed policy
}

const recordVersion = "v=STSv1"

// ParseRecord finds the one MTA-STS record among a name's TXT records, each with its strings joined, and parses it.
// Records of other kinds are passed over (RFC 8461 section 3.1). The errors are ErrNoRecord, ErrMultipleRecords and
// *SyntaxError.
func ParseRecord(txts []string) (Record, error) {
	var fields string
	var found int
	var bare bool
	for _, txt := range txts {
		rest, ok := strings.CutPrefix(txt, recordVersion)
		if !ok {
			continue
		}
		rest = trimLeftWSP(rest)
		switch {
		case rest == "":
			bare = true
		case rest[0] == ';':
			found++
			fields = rest[1:]
		}
	}
	switch {
	case found > 1:
		return Record{}, ErrMultipleRecords
	case found == 1:
		return parseRecordFields(fields)
	case bare:
		// By the letter of the RFC it is no MTA-STS record, for lack of the semicolon. Its owner is better served by
		// hearing what it lacks; beside a whole record it is not counted.
		return Record{}, &SyntaxError{Msg: "the MTA-STS record has no id field, only its version"}
	}
	return Record{}, ErrNoRecord
}

// parseRecordFields parses what follows the version and its semicolon. White space may stand around each semicolon and
// at the end, and the last semicolon may be left out.
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
			continue // unknown, or repeated: the first counts
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

// isRecordValue implements sts-ext-value: printable ASCII without space, `=` and `;`. Every id is one too.
func isRecordValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '=' || c == ';' {
			return false
		}
	}
	return s != ""
}
