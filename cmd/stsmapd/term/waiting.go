package term

import (
	"fmt"
	"io"
	"os"
)

// Waiting is one line at the end of a terminal that says what a command waits for. A nil *Waiting shows nothing.
type Waiting struct {
	out   io.Writer
	shown bool
}

// NewWaiting returns a Waiting on a terminal; nil if w is none, or one that cannot erase a line.
func NewWaiting(w io.Writer) *Waiting {
	if Width(w) == 0 || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &Waiting{out: w}
}

// Show replaces the line. It ignores errors of writing.
func (l *Waiting) Show(text string) {
	if l == nil {
		return
	}
	fmt.Fprintf(l.out, "\r\x1b[K%s …", Short(Clean(text), Columns(l.out)-4))
	l.shown = true
}

// Clear erases the line.
func (l *Waiting) Clear() {
	if l != nil && l.shown {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.shown = false
	}
}
