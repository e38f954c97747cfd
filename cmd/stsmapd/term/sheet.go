package term

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Sheet writes headings, and below them lines with a name and a value, or rows with a label, a mark and a text. What is
// long is wrapped beside its name. NewSheet and NewPage return one.
type Sheet struct {
	out     io.Writer
	colours bool
	columns int   // of the terminal; 0: none, and nothing is wrapped
	width   int   // of the names
	Err     error // first error of writing
}

// NewSheet returns a sheet with a name column of width characters. Elsewhere than on a terminal each value is one line.
func NewSheet(w io.Writer, width int) *Sheet {
	return &Sheet{out: w, colours: Coloured(w), columns: Width(w), width: width}
}

// NewPage returns a sheet for people to read: elsewhere than on a terminal it has 80 columns.
func NewPage(w io.Writer, width int) *Sheet {
	return &Sheet{out: w, colours: Coloured(w), columns: Columns(w), width: width}
}

// Mark is the word before a text that rates it.
type Mark string

// The marks.
const (
	NoMark Mark = ""
	OK     Mark = "ok"
	Fail   Mark = "FAIL"
	Note   Mark = "note"
)

// markWidth is the width of the column of marks.
const markWidth = 5

func (m Mark) colour() string {
	return map[Mark]string{OK: Green, Fail: Red, Note: Yellow}[m]
}

// Cell returns the mark as a cell of a Table.
func (m Mark) Cell() Cell { return Painted(m.colour(), string(m)) }

// Print writes a line unchanged.
func (s *Sheet) Print(text string) {
	if s.Err == nil {
		_, s.Err = fmt.Fprintln(s.out, text)
	}
}

// Heading writes a line in bold.
func (s *Sheet) Heading(text string) { s.Print(s.paint(Bold, text)) }

// Line writes a name and a value. It cleans the value, which may come from the network.
func (s *Sheet) Line(name, colour, value string) {
	at := s.width + 4
	s.hang(fmt.Sprintf("  %-*s  ", s.width, name), at, colour, Wrap(Clean(value), s.room(at)))
}

// Row writes a label, a mark and a text. It cleans label and text, which may come from the network. A label that is too
// long is on a line of its own.
func (s *Sheet) Row(label string, m Mark, text string) {
	label = Clean(label)
	if utf8.RuneCountInString(label) >= s.width {
		s.Print(label)
		label = ""
	}
	at, mark := s.width+markWidth, s.paint(m.colour(), fmt.Sprintf("%-*s", markWidth, m))
	s.hang(fmt.Sprintf("%-*s", s.width, label)+mark, at, Plain, Wrap(Clean(text), s.room(at)))
}

// Paragraph writes a head in a colour and, behind it, the words of a text, which may come from the network. Its further
// lines begin with indent spaces.
func (s *Sheet) Paragraph(colour, head string, indent int, text string) {
	place := strings.Repeat("x", max(utf8.RuneCountInString(head)-indent, 0)) // of the head, in a word with the text
	words := Clean(strings.Join(strings.Fields(text), " "))
	lines := Wrap(place+words, s.room(indent))
	s.hang(s.paint(colour, head), indent, Plain, append([]string{lines[0][len(place):]}, lines[1:]...))
}

// room is how wide a text is that begins at a column; 0: as wide as it is.
func (s *Sheet) room(column int) int {
	if s.columns == 0 {
		return 0
	}
	return max(s.columns-column, minLast)
}

// hang writes a head and, beside it, lines, of which all but the first begin with indent spaces.
func (s *Sheet) hang(head string, indent int, colour string, lines []string) {
	for _, line := range lines {
		s.Print(strings.TrimRight(head+s.paint(colour, line), " "))
		head = strings.Repeat(" ", indent)
	}
}

func (s *Sheet) paint(colour, text string) string {
	if s.colours {
		return Paint(colour, text)
	}
	return text
}
