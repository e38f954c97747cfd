package term

import (
	"fmt"
	"io"
	"strings"
)

// Sheet writes headings, and lines of a name and a value below them.
type Sheet struct {
	out     io.Writer
	colours bool
	width   int   // of the names
	Err     error // the first of writing
}

// NewSheet makes a sheet whose names take so many columns.
func NewSheet(w io.Writer, width int) *Sheet {
	return &Sheet{out: w, colours: Coloured(w), width: width}
}

// Print writes a line as it is.
func (s *Sheet) Print(text string) {
	if s.Err == nil {
		_, s.Err = fmt.Fprintln(s.out, text)
	}
}

// Heading writes a line that stands out.
func (s *Sheet) Heading(text string) {
	if s.colours {
		text = Paint(Bold, text)
	}
	s.Print(text)
}

// Line writes a name and a value; the value may come from the network.
func (s *Sheet) Line(name, colour, value string) {
	value = Clean(value)
	if s.colours {
		value = Paint(colour, value)
	}
	s.Print(strings.TrimRight(fmt.Sprintf("  %-*s  %s", s.width, name, value), " "))
}
