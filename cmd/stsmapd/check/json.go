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
	// encoding/json escapes the controls of ASCII but not DEL and those of ISO 8859; they can only stand in strings.
	var safe bytes.Buffer
	for _, c := range line.String() {
		if c >= 0x7f && c <= 0x9f {
			fmt.Fprintf(&safe, `\u%04x`, c)
			continue
		}
		safe.WriteRune(c)
	}
	_, err := w.Write(safe.Bytes())
	return err
}
