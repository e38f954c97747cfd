package term

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// sizingRows is the number of rows that determine the widths of a table's columns. Longer cells in later rows exceed
// their column.
const sizingRows = 500

// Cell is one field of a Table. Text and Painted make one.
type Cell struct {
	text   string
	colour string
}

// Table writes rows in columns. Call End after the last row. NewTable returns one.
type Table struct {
	out     *bufio.Writer
	colours bool
	rows    [][]Cell // rows before the widths are known; the first is the head
	widths  []int    // nil: not known yet
}

// Text returns a cell without a colour.
func Text(text string) Cell { return Cell{text: text} }

// Painted returns a cell in one of the colours of this package.
func Painted(colour, text string) Cell { return Cell{text, colour} }

// NewTable returns a table with these column heads.
func NewTable(w io.Writer, head ...string) *Table {
	t := &Table{out: bufio.NewWriter(w), colours: Coloured(w)}
	cells := make([]Cell, len(head))
	for i, text := range head {
		cells[i] = Cell{text, Bold}
	}
	t.rows = append(t.rows, cells)
	return t
}

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
	for _, row := range t.rows {
		t.writeRow(row)
	}
	t.rows = nil
}

func (t *Table) writeRow(row []Cell) {
	for i, c := range row {
		text := Clean(c.text)
		pad := ""
		if i < len(row)-1 {
			pad = strings.Repeat(" ", max(t.widths[i]-utf8.RuneCountInString(text), 0)+2)
		}
		if t.colours {
			text = Paint(c.colour, text)
		}
		t.out.WriteString(text + pad)
	}
	t.out.WriteByte('\n')
}

// End writes the remaining rows and returns the first error of writing.
func (t *Table) End() error {
	if t.widths == nil {
		t.setWidths()
	}
	return t.out.Flush()
}
