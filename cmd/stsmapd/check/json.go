package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes a report as one line of JSON. Control characters of strangers are escaped, so that the line is safe on a
// terminal.
func WriteJSON(w io.Writer, r *Report) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("JSON of the report on %s: %w", r.Domain, err)
	}
	_, err := w.Write(EscapeControls(line.Bytes()))
	return err
}

// EscapeControls makes encoded JSON safe on a terminal. encoding/json escapes the control characters of ASCII but not DEL and those
// of ISO 8859, which a policy file may hold; they can only stand in strings.
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
