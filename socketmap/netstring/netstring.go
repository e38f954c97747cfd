// Package netstring reads and writes netstrings, the frames of the socketmap protocol.
//
// A netstring is a length in decimal digits, a colon, that many bytes of any value, and a comma. The word "hello" is
//
//	5:hello,
//
// and the empty string is "0:,". The length has no sign and no leading zeros, so every payload has exactly one
// encoding. The payload may contain any byte, also digits and commas, so the next frame cannot be found after a
// malformed one: the reader must close the connection.
package netstring

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrIncomplete means that the bytes are the beginning of a netstring. Read more and parse again.
var ErrIncomplete = errors.New("netstring: incomplete")

// ErrTooLong means that the announced length is larger than the reader accepts. It is returned before the payload is
// read, so an announced length never costs memory. The reader must close the connection.
var ErrTooLong = errors.New("netstring: announced length is over the limit")

// SyntaxError means that the bytes are not a netstring. The reader must close the connection.
type SyntaxError struct {
	Offset int    // of the wrong byte, from 0
	Msg    string // what was expected and what was found
}

// Error implements error. The text has the offset and what is wrong.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("netstring: byte %d: %s", e.Offset, e.Msg)
}

// Parse parses the netstring at the beginning of buf. The payload is a part of buf, not a copy, and n is the length of
// the whole netstring in bytes. max, from 0 to 1<<30, is the largest payload accepted, in bytes.
//
// The error is ErrIncomplete, ErrTooLong or a *SyntaxError. The last two are returned at the first byte that shows the
// error: if a prefix of buf gives one of them, so does buf.
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

// parseBody parses length bytes and the comma, from buf[start] on.
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

// quote returns a byte in printable ASCII.
func quote(c byte) string {
	if c >= 0x80 {
		return fmt.Sprintf("0x%02x", c)
	}
	return strconv.QuoteRuneToASCII(rune(c))
}

// Append appends the netstring of the joined parts to dst and returns the extended slice. It allocates only when dst
// must grow.
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
