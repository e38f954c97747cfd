package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The errors of ParseRecord other than *SyntaxError. The domain has no policy available; the caller should still use a
// live policy that it has cached.
var (
	ErrNoRecord        = errors.New("no MTA-STS TXT record")
	ErrMultipleRecords = errors.New("more than one MTA-STS TXT record")
)

// SyntaxError says where a policy or a record breaks the grammar. The domain has no valid policy now; the caller should
// still use a live policy that it has cached (RFC 8461 sections 3.1 and 3.3). Only the domain's owner can correct it.
type SyntaxError struct {
	Line int    // of the policy, from 1; 0 for a missing field, and for records
	Msg  string // what is wrong, printable, with the wrong text quoted and cut
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// quote returns an untrusted text in a form that is safe in a log: quoted, escaped, and cut, not inside a rune.
func quote(s string) string {
	const limit = 48 // bytes of s that are shown
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strconv.Quote(s[:end]) + "…"
}
