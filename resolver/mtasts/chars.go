package mtasts

import (
	"strings"

	"github.com/stsmapd/stsmapd/resolver/txtrecord"
)

func trimWSP(s string) string { return strings.Trim(s, txtrecord.WSP) }

func trimLeftWSP(s string) string { return strings.TrimLeft(s, txtrecord.WSP) }

// isFieldName reports whether s is a field name. It implements sts-ext-name and sts-policy-ext-name, which are equal
// and include the known names: a letter or digit, then at most 31 letters, digits, `_`, `-` and `.`.
func isFieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && (i == 0 || c != '_' && c != '-' && c != '.') {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= maxFieldName
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// trimLine returns a line without its end, LF or CRLF (erratum 6253), and without the white space before it.
func trimLine(line string) string {
	line, ended := strings.CutSuffix(line, "\n")
	if ended {
		line = strings.TrimSuffix(line, "\r")
	}
	return strings.TrimRight(line, txtrecord.WSP)
}
