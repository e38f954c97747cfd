// Package txtrecord finds the one record of a kind among the TXT records of a name. RFC 8461 section 3.1 (MTA-STS) and
// RFC 8460 section 3 (TLSRPT) have the same rules for it.
package txtrecord

import "strings"

// WSP are the characters of WSP of RFC 5234.
const WSP = " \t"

// Found is what Find has found.
type Found struct {
	Count  int    // of records of the kind: more than one are as good as none
	Record string // the last of them, unchanged
	Fields string // of Record: what follows the version and its semicolon
	// BareVersion: a record is the version alone. Without the semicolon the RFCs do not count it as a record of the
	// kind; beside a complete record it is ignored. Its owner may be told what is missing.
	BareVersion bool
}

// Find finds the records of a kind, which begin with version, such as "v=STSv1". txts are the TXT records of a name,
// each with its strings joined. Records of other kinds are ignored.
func Find(txts []string, version string) (f Found) {
	for _, txt := range txts {
		rest, ok := strings.CutPrefix(txt, version)
		if !ok {
			continue
		}
		rest = strings.TrimLeft(rest, WSP)
		switch {
		case rest == "":
			f.BareVersion = true
		case rest[0] == ';':
			f.Count++
			f.Record, f.Fields = txt, rest[1:]
		}
	}
	return f
}
