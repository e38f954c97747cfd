package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// WriteJSON writes a report as one line of JSON. Control characters are escaped, so that the line is safe on a
// terminal.
func WriteJSON(w io.Writer, r *Report) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("JSON of the report on %s: %w", r.Domain, err)
	}
	_, err := w.Write(term.EscapeControls(line.Bytes()))
	return err
}
