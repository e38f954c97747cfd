package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes one object, indented.
func WriteJSON(w io.Writer, v any) error {
	e := NewJSONLines(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// NewJSONLines returns an encoder that writes one object a line.
func NewJSONLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(safeJSON{w})
	e.SetEscapeHTML(false)
	return e
}

// safeJSON is a writer of encoded JSON that applies escapeControls. Each write must be a whole object.
type safeJSON struct{ w io.Writer }

// Write implements io.Writer.
func (s safeJSON) Write(text []byte) (int, error) {
	if _, err := s.w.Write(escapeControls(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// escapeControls makes encoded JSON safe on a terminal. encoding/json escapes the control characters of ASCII but not
// DEL and those of ISO 8859, which a policy file may hold; they can only stand in strings.
func escapeControls(text []byte) []byte {
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
