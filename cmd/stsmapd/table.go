package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/check"
)

// sizingRows is how many rows of a table are looked at for the widths of its columns; what is longer further down sticks out.
const sizingRows = 500

// cell is one field of a table.
type cell struct {
	text   string
	colour string
}

// table writes rows in columns, as they come. Call end after the last.
type table struct {
	out     *bufio.Writer
	colours bool
	rows    [][]cell // that wait for the widths; the first is the head
	widths  []int    // nil: not known yet
}

func newTable(w io.Writer, head ...string) *table {
	t := &table{out: bufio.NewWriter(w), colours: coloured(w)}
	cells := make([]cell, len(head))
	for i, text := range head {
		cells[i] = cell{text, bold}
	}
	t.rows = append(t.rows, cells)
	return t
}

// row adds a row, as many cells as the head has.
func (t *table) row(cells ...cell) {
	if t.widths != nil {
		t.write(cells)
		return
	}
	if t.rows = append(t.rows, cells); len(t.rows) > sizingRows {
		t.size()
	}
}

// size finds the widths, and writes what waited for them.
func (t *table) size() {
	t.widths = make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range t.rows {
		t.write(row)
	}
	t.rows = nil
}

func (t *table) write(row []cell) {
	for i, c := range row {
		text := clean(c.text)
		pad := ""
		if i < len(row)-1 {
			pad = strings.Repeat(" ", max(t.widths[i]-utf8.RuneCountInString(text), 0)+2)
		}
		if t.colours {
			text = paint(c.colour, text)
		}
		t.out.WriteString(text + pad)
	}
	t.out.WriteByte('\n')
}

// end writes what is left. The error is the first of all.
func (t *table) end() error {
	if t.widths == nil {
		t.size()
	}
	return t.out.Flush()
}

// writeJSON writes one object, for people to read too.
func writeJSON(w io.Writer, v any) error {
	e := newJSONLines(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// newJSONLines writes one object a line.
func newJSONLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(safeJSON{w})
	e.SetEscapeHTML(false)
	return e
}

// safeJSON passes on encoded JSON, whole objects at a time, without what would move a terminal's cursor.
type safeJSON struct{ w io.Writer }

// Write implements io.Writer.
func (s safeJSON) Write(text []byte) (int, error) {
	if _, err := s.w.Write(check.EscapeControls(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// span is a length of time as people say it: the two largest units that matter.
func span(d time.Duration) string {
	days, hours, minutes := d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60
	switch {
	case days >= 10 || days > 0 && hours == 0:
		return fmt.Sprintf("%dd", days)
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, hours)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%dh", hours)
	case minutes > 0:
		return fmt.Sprintf("%dm", minutes)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// when is a time as seen from now: "in 2d 3h", "5m ago"; "never" for none.
func when(now, t time.Time) string {
	switch left := t.Sub(now); {
	case t.IsZero():
		return "never"
	case left > 0:
		return "in " + span(left)
	default:
		return span(-left) + " ago"
	}
}

// moment is a time in full, and as seen from now.
func moment(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " (" + when(now, t) + ")"
}
