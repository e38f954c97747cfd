// Package netstring reads and writes netstrings, the frames of the socketmap protocol.
//
// A netstring is a length in decimal digits, a colon, that many bytes of anything, and a comma: the word
// "hello" is
//
//	5:hello,
//
// and the empty string is "0:,". The length has no sign and no leading zeros, so every payload has exactly one
// spelling. Because the payload may hold any byte, also digits and commas, there is no way to find the next
// frame after a malformed one: whoever reads one must end the connection.
package netstring

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrIncomplete says that the bytes so far are the beginning of a netstring. Read more and parse again.
var ErrIncomplete = errors.New("netstring: incomplete")

// ErrTooLong says that the netstring announces more bytes than the reader accepts. It comes before the payload
// is read, so an announced length never costs memory. The framing is lost: end the connection.
var ErrTooLong = errors.New("netstring: announced length is over the limit")

// SyntaxError says that the bytes are no netstring. The framing is lost: end the connection.
type SyntaxError struct {
	Offset int    // of the offending byte, counted from 0
	Msg    string // what was wanted and what was found
}

// Error names the offending byte's place and what is wrong with it.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("netstring: byte %d: %s", e.Offset, e.Msg)
}

// Parse reads the netstring at the beginning of buf. The payload is a part of buf, not a copy, and n is how many
// bytes of buf the whole netstring takes. A payload of more than max bytes (0 to 1<<30) is refused.
//
// The error is ErrIncomplete, ErrTooLong or a *SyntaxError. The last two are found at the first byte that
// proves them: once a beginning of buf has given one of them, every continuation gives the same.
func Parse(buf []byte, max int) (payload []byte, n int, err error) {
	length := uint64(0)
	for i, c := range buf {
		switch {
		case c == ':' && i > 0:
			return parseBody(buf, i+1, int(length))
		case c < '0' || c > '9':
			return nil, 0, headerError(i, c)
		case i > 0 && buf[0] == '0':
			return nil, 0, &SyntaxError{Offset: i, Msg: "the length has a leading zero"}
		}
		length = length*10 + uint64(c-'0')
		if length > uint64(max) {
			return nil, 0, ErrTooLong
		}
	}
	return nil, 0, ErrIncomplete
}

// parseBody reads length bytes and the comma, from buf[start] on.
func parseBody(buf []byte, start, length int) (payload []byte, n int, err error) {
	end := start + length
	if len(buf) <= end {
		return nil, 0, ErrIncomplete
	}
	if buf[end] != ',' {
		return nil, 0, &SyntaxError{Offset: end, Msg: "want a comma after the payload, got " + quote(buf[end])}
	}
	return buf[start:end:end], end + 1, nil
}

func headerError(offset int, c byte) *SyntaxError {
	want := "want a digit of the length, got "
	if offset > 0 {
		want = "want a digit of the length or a colon, got "
	}
	return &SyntaxError{Offset: offset, Msg: want + quote(c)}
}

// quote spells a byte in printable ASCII.
func quote(c byte) string {
	if c >= 0x80 {
		return fmt.Sprintf("0x%02x", c)
	}
	return strconv.QuoteRuneToASCII(rune(c))
}

// Append appends one netstring to dst, whose payload is the parts joined, and returns the longer slice. It
// allocates only when dst must grow.
func Append[P ~string | ~[]byte](dst []byte, parts ...P) []byte {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	dst = strconv.AppendInt(dst, int64(length), 10)
	dst = append(dst, ':')
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return append(dst, ',')
}
