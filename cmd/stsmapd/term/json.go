package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes one object, for people to read too.
func WriteJSON(w io.Writer, v any) error {
	e := NewJSONLines(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// NewJSONLines writes one object a line.
func NewJSONLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(safeJSON{w})
	e.SetEscapeHTML(false)
	return e
}

// safeJSON passes on encoded JSON, whole objects at a time, without what would move a terminal's cursor.
type safeJSON struct{ w io.Writer }

// Write implements io.Writer.
func (s safeJSON) Write(text []byte) (int, error) {
	if _, err := s.w.Write(EscapeControls(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// EscapeControls makes encoded JSON safe on a terminal. encoding/json escapes the control characters of ASCII but not
// DEL and those of ISO 8859, which a policy file may hold; they can only stand in strings.
func EscapeControls(text []byte) []byte {
	var safe bytes.Buffer
	for _, c := range string(text) {
		if c >= 0x7f && c <= 0x9f {
			fmt.Fprintf(&safe, `\u%04x`, c)
			continue
		}
		safe.WriteRune(c)
	}
	return safe.Bytes()
}
