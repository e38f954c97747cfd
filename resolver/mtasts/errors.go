package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// ErrNoRecord and ErrMultipleRecords: no policy is available; a live policy that is remembered still counts.
var (
	ErrNoRecord        = errors.New("no MTA-STS TXT record")
	ErrMultipleRecords = errors.New("more than one MTA-STS TXT record")
)

// SyntaxError says where a policy or a record breaks the grammar. The domain has no policy that could be used now; a
// live policy that is remembered still counts (RFC 8461 sections 3.1 and 3.3). Only the domain's owner can mend it.
type SyntaxError struct {
	Line int    // of a policy, from 1; 0 when no single line is at fault, and for records
	Msg  string // what is wrong, printable, with the text at fault quoted and cut
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// quote returns the beginning of a text from the network in a form that is safe to log: quoted, escaped, short, without
// half a rune at its end.
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
