package term

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// sizingRows is the number of rows that determine the widths of a table's columns. Longer cells in later rows
	// exceed their column.
	sizingRows = 500
	// minFirst and minLast are the least widths of the first and the last column on a narrow terminal.
	minFirst = 12
	minLast  = 24
)

// Cell is one field of a Table. Text and Painted make one.
type Cell struct {
	text   string
	colour string
}

// Table writes rows in columns. On a terminal that is too narrow, the last column is wrapped, below the others if
// there is no room beside them, and the first one, for names, is cut in the middle. Elsewhere each row is one line.
// Call End after the last row. NewTable returns one.
type Table struct {
	out     *bufio.Writer
	colours bool
	columns int      // of the terminal; 0: none
	rows    [][]Cell // rows before the widths are known; the first is the head
	widths  []int    // nil: not known yet
	below   bool     // the last column is below the others
}

// Text returns a cell without a colour.
func Text(text string) Cell { return Cell{text: text} }

// Painted returns a cell in one of the colours of this package.
func Painted(colour, text string) Cell { return Cell{text, colour} }

// NewTable returns a table with these column heads.
func NewTable(w io.Writer, head ...string) *Table {
	t := &Table{out: bufio.NewWriter(w), colours: Coloured(w), columns: Width(w)}
	cells := make([]Cell, len(head))
	for i, text := range head {
		cells[i] = Cell{text, Bold}
	}
	t.rows = append(t.rows, cells)
	return t
}

// Begin sets the widths of all columns but the last before the first row, so that rows can be written as they come:
// call End after each.
func (t *Table) Begin(widths ...int) {
	t.widths = append(widths, t.columns)
	if t.columns > 0 {
		t.fit()
	}
	t.writeRow(t.rows[0])
	t.rows = nil
}

// Empty reports whether there is no row yet.
func (t *Table) Empty() bool { return t.widths == nil && len(t.rows) == 1 }

// Row adds a row. It must have as many cells as the head.
func (t *Table) Row(cells ...Cell) {
	if t.widths != nil {
		t.writeRow(cells)
		return
	}
	if t.rows = append(t.rows, cells); len(t.rows) > sizingRows {
		t.setWidths()
	}
}

// setWidths determines the widths and writes the waiting rows.
func (t *Table) setWidths() {
	t.widths = make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c.text))
		}
	}
	if t.columns > 0 {
		t.fit()
	}
	for _, row := range t.rows {
		t.writeRow(row)
	}
	t.rows = nil
}

// fit changes the widths to those of a terminal.
func (t *Table) fit() {
	last := len(t.widths) - 1
	before := 2 * last // columns before the last one, with the space behind each
	for _, width := range t.widths[:last] {
		before += width
	}
	if room := t.columns - before; room >= min(t.widths[last], minLast) {
		t.widths[last] = min(t.widths[last], room)
		return
	}
	t.below = true
	t.widths[last] = t.columns - 2
	if excess := before - 2 - t.columns; excess > 0 {
		t.widths[0] = min(t.widths[0], max(t.widths[0]-excess, minFirst))
	}
}

func (t *Table) writeRow(row []Cell) {
	last, column := len(row)-1, 0
	for i, c := range row[:last] {
		text := Clean(c.text)
		if i == 0 && t.columns > 0 {
			text = Short(text, max(t.widths[0], minFirst))
		}
		pad := max(t.widths[i]-utf8.RuneCountInString(text), 0) + 2
		column += t.widths[i] + 2
		if t.below && i == last-1 {
			pad = 0
		}
		t.out.WriteString(t.paint(c.colour, text) + strings.Repeat(" ", pad))
	}
	if t.below {
		column = 2
		t.out.WriteString("\n  ")
	}
	width := 0
	if t.columns > 0 {
		width = t.widths[last]
	}
	for i, line := range Wrap(Clean(row[last].text), width) {
		if i > 0 {
			t.out.WriteString(strings.Repeat(" ", column))
		}
		t.out.WriteString(t.paint(row[last].colour, line) + "\n")
	}
}

func (t *Table) paint(colour, text string) string {
	if t.colours {
		return Paint(colour, text)
	}
	return text
}

// End writes the rows that wait, and returns the first error of writing.
func (t *Table) End() error {
	if t.widths == nil {
		t.setWidths()
	}
	return t.out.Flush()
}
