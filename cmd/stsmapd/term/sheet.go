package term

import (
	"fmt"
	"io"
	"strings"
)

// Sheet writes headings, and lines with a name and a value below them. On a terminal, values are wrapped.
type Sheet struct {
	out     io.Writer
	colours bool
	columns int   // of the terminal; 0: none
	width   int   // of the names
	Err     error // first error of writing
}

// NewSheet returns a sheet with a name column of width characters.
func NewSheet(w io.Writer, width int) *Sheet {
	return &Sheet{out: w, colours: Coloured(w), columns: Width(w), width: width}
}

// Print writes a line unchanged.
func (s *Sheet) Print(text string) {
	if s.Err == nil {
		_, s.Err = fmt.Fprintln(s.out, text)
	}
}

// Heading writes a line in bold.
func (s *Sheet) Heading(text string) {
	if s.colours {
		text = Paint(Bold, text)
	}
	s.Print(text)
}

// Line writes a name and a value. It cleans the value, which may come from the network.
func (s *Sheet) Line(name, colour, value string) {
	room := 0
	if s.columns > 0 {
		room = max(s.columns-s.width-4, minLast)
	}
	for _, text := range Wrap(Clean(value), room) {
		if s.colours {
			text = Paint(colour, text)
		}
		s.Print(strings.TrimRight(fmt.Sprintf("  %-*s  %s", s.width, name, text), " "))
		name = ""
	}
}
