package check

import (
	"fmt"
	"io"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Progress is one line at the end of a terminal that says what the check waits for. A nil *Progress shows nothing.
type Progress struct {
	w     io.Writer
	shown bool
}

// NewProgress returns a Progress on a terminal, which w must be.
func NewProgress(w io.Writer) *Progress { return &Progress{w: w} }

// Show replaces the line. It ignores errors of writing.
func (p *Progress) Show(text string) {
	if p == nil {
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s …", cut(text, term.Columns(p.w)-4))
	p.shown = true
}

// Clear erases the line.
func (p *Progress) Clear() {
	if p != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
