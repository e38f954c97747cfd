package guard

import (
	"bytes"
	"strings"
)

// message is a decoded frame.
type message struct {
	kind  byte
	null  bool // RESP2's or RESP3's null
	text  string
	items []message
}

// decode decodes a frame that a scanner has checked.
func decode(frame []byte) message {
	m, _ := decodeValue(frame)
	return m
}

func decodeValue(b []byte) (m message, rest []byte) {
	end := bytes.IndexByte(b, '\n')
	m.kind = b[0]
	line, rest := b[1:end-1], b[end+1:]
	switch m.kind {
	case '$', '!', '=', '*', '~', '>', '%':
	case '_':
		return message{kind: m.kind, null: true}, rest
	default:
		m.text = string(line)
		return m, rest
	}
	n, err := parseLength(m.kind, line)
	switch {
	case err != nil || n < 0:
		m.null = true
		return m, rest
	case m.kind == '$' || m.kind == '!' || m.kind == '=':
		m.text = string(rest[:n])
		return m, rest[n+2:]
	case m.kind == '%':
		n *= 2
	}
	m.items = make([]message, n)
	for i := range m.items {
		m.items[i], rest = decodeValue(rest)
	}
	return m, rest
}

func (m message) isError() bool     { return m.kind == '-' || m.kind == '!' }
func (m message) isList() bool      { return (m.kind == '*' || m.kind == '~') && !m.null }
func (m message) isText() bool      { return (m.kind == '$' || m.kind == '+' || m.kind == '=') && !m.null }
func (m message) isAggregate() bool { return m.isList() || m.kind == '%' || m.kind == '>' }

// first returns the text of the first item, which is the name of a push.
func (m message) first() string {
	if len(m.items) == 0 {
		return ""
	}
	return m.items[0].text
}

// isPong reports whether the library treats m as the reply to the PING that it sends after UNSUBSCRIBE.
func (m message) isPong() bool {
	if m.kind == '-' && (strings.HasPrefix(m.text, "LOADING") || strings.HasPrefix(m.text, "BUSY") ||
		strings.Contains(m.text, "'ping'")) {
		return true
	}
	return m.text == "PONG" || m.first() == "pong"
}

// fields returns the named fields of a map, or of a list of names and values.
func (m message) fields() map[string]string {
	if !m.isAggregate() {
		return nil
	}
	all := make(map[string]string, len(m.items)/2)
	for i := 0; i+1 < len(m.items); i += 2 {
		all[m.items[i].text] = m.items[i+1].text
	}
	return all
}
