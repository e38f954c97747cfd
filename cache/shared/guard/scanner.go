package guard

import (
	"bytes"
	"fmt"
	"strconv"
)

// Bounds of one frame. stsmapd stores policies of at most 64 KiB; the largest replies are lists of the nodes of a
// cluster.
const (
	maxBulk   = 1 << 20  // bytes of one string
	maxFrame  = 2 << 20  // bytes of one frame
	maxLine   = 16 << 10 // bytes of a simple string or error
	maxNumber = 32       // bytes of a line with a number
	maxValues = 1 << 16  // values in one frame, with nested ones
	maxDepth  = 8        // nested aggregates
)

// scanner finds the end of a RESP2 or RESP3 frame in bytes that arrive in pieces. The result does not depend on where
// the pieces end. The zero scanner is at the start of a frame.
type scanner struct {
	at     int   // bytes of the frame already checked
	values int   // values announced by the frame's headers
	open   []int // missing values of each open aggregate
}

// next returns the length of the frame at the start of b, or 0 if it is incomplete. In that case call next again with
// the same bytes and more after them. After a length the scanner is at the start of the next frame; after an error it
// must not be used.
func (s *scanner) next(b []byte) (length int, err error) {
	for s.at < len(b) {
		n, items, err := s.scanValue(b[s.at:])
		if err != nil || n == 0 {
			return 0, err
		}
		s.at += n
		if s.at > maxFrame {
			return 0, fmt.Errorf("a frame of more than %d bytes", maxFrame)
		}
		if s.addValue(items) {
			length = s.at
			*s = scanner{open: s.open[:0]}
			return length, nil
		}
	}
	return 0, nil
}

// addValue counts a value with this number of items, and reports whether it is the last of the frame.
func (s *scanner) addValue(items int) (done bool) {
	if items > 0 {
		s.open = append(s.open, items)
		return false
	}
	for len(s.open) > 0 {
		top := len(s.open) - 1
		if s.open[top]--; s.open[top] > 0 {
			return false
		}
		s.open = s.open[:top]
	}
	return true
}

// scanValue checks one value without its items. n is its length, 0 if it is incomplete.
func (s *scanner) scanValue(b []byte) (n, items int, err error) {
	kind := b[0]
	limit, err := s.lineLimit(kind)
	if err != nil {
		return 0, 0, err
	}
	end := bytes.IndexByte(b, '\n')
	if line := end; line > limit || end < 0 && len(b) > limit {
		return 0, 0, fmt.Errorf("a line of more than %d bytes after %q", limit, kind)
	}
	if end < 0 {
		return 0, 0, nil
	}
	if end < 2 || b[end-1] != '\r' {
		return 0, 0, fmt.Errorf("a line after %q that does not end in CR LF", kind)
	}
	line := b[1 : end-1]
	switch kind {
	case '$', '!', '=':
		n, err = s.scanString(b, line, end+1)
		return n, 0, err
	case '*', '~', '>', '%':
		items, err = s.scanAggregate(kind, line)
		return end + 1, items, err
	}
	return end + 1, 0, checkLine(kind, line)
}

// lineLimit returns the largest length of a value's first line in bytes. It refuses attributes and streamed values:
// RESP3 has them, but no command of stsmapd is answered with them.
func (s *scanner) lineLimit(kind byte) (int, error) {
	switch kind {
	case '+', '-':
		return maxLine, nil
	case '$', '!', '=', '*', '~', '%', ':', '_', '#', ',', '(':
		return maxNumber, nil
	case '>':
		if len(s.open) > 0 {
			return 0, fmt.Errorf("a push inside another value")
		}
		return maxNumber, nil
	case '|':
		return 0, fmt.Errorf("an attribute, which no command asked for")
	}
	return 0, fmt.Errorf("%q is no type of RESP", kind)
}

// scanString checks a string after its length. header is the offset of the string in b.
func (s *scanner) scanString(b, line []byte, header int) (n int, err error) {
	length, err := parseLength(b[0], line)
	if err != nil {
		return 0, err
	}
	if length < 0 {
		return header, nil
	}
	if length > maxBulk {
		return 0, fmt.Errorf("a string of %d bytes; no value has more than %d", length, maxBulk)
	}
	if n = header + length + 2; s.at+n > maxFrame {
		return 0, fmt.Errorf("a frame of more than %d bytes", maxFrame)
	}
	if len(b) < n {
		return 0, nil
	}
	if b[n-2] != '\r' || b[n-1] != '\n' {
		return 0, fmt.Errorf("a string of %d bytes that does not end there", length)
	}
	return n, nil
}

// scanAggregate returns the number of items that follow.
func (s *scanner) scanAggregate(kind byte, line []byte) (items int, err error) {
	items, err = parseLength(kind, line)
	if err != nil || items <= 0 {
		return 0, err
	}
	if items > maxValues {
		return 0, fmt.Errorf("an aggregate of %d values; no reply has more than %d", items, maxValues)
	}
	if kind == '%' {
		items *= 2
	}
	if s.values += items; s.values > maxValues {
		return 0, fmt.Errorf("a frame of more than %d values", maxValues)
	}
	if len(s.open) == maxDepth {
		return 0, fmt.Errorf("more than %d aggregates in each other", maxDepth)
	}
	return items, nil
}

// parseLength parses the length of a string or aggregate. Only $ and * may have -1, RESP2's null.
func parseLength(kind byte, line []byte) (int, error) {
	if string(line) == "-1" && (kind == '$' || kind == '*') {
		return -1, nil
	}
	if !digits(line) {
		return 0, fmt.Errorf("%q is no length after %q", line, kind)
	}
	n, err := strconv.Atoi(string(line))
	if err != nil {
		return 0, fmt.Errorf("%q is no length after %q", line, kind)
	}
	return n, nil
}

// checkLine checks a value of one line.
func checkLine(kind byte, line []byte) error {
	valid := true
	switch kind {
	case '+', '-':
		valid = bytes.IndexByte(line, '\r') < 0
	case ':':
		_, err := strconv.ParseInt(string(line), 10, 64)
		valid = err == nil
	case '_':
		valid = len(line) == 0
	case '#':
		valid = string(line) == "t" || string(line) == "f"
	case ',':
		_, err := strconv.ParseFloat(string(line), 64)
		valid = err == nil
	case '(':
		valid = digits(bytes.TrimPrefix(line, []byte("-")))
	}
	if !valid {
		return fmt.Errorf("%.40q is no value after %q", line, kind)
	}
	return nil
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
