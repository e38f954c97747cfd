package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress is a progress bar on a terminal. On any other output it writes nothing.
type Progress struct {
	out   io.Writer
	width int // of the terminal; 0: not a terminal
	total int
	begin time.Time

	mu    sync.Mutex
	done  int
	drawn time.Time
}

const (
	progressPause = 100 * time.Millisecond // between two drawings
	progressBar   = 30                     // columns
)

// NewProgress returns a bar for total steps.
func NewProgress(out io.Writer, total int) *Progress {
	return &Progress{out: out, width: Width(out), total: total, begin: time.Now()}
}

// Step counts one step. failed is the number of failed steps so far.
func (p *Progress) Step(failed int) {
	if p.width == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	now := time.Now()
	if now.Sub(p.drawn) < progressPause && p.done < p.total {
		return
	}
	p.drawn = now
	fmt.Fprint(p.out, "\r"+progressLine(p.done, p.total, failed, now.Sub(p.begin), p.width)+"\x1b[K")
}

// End erases the bar.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 && p.done > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// progressLine returns the bar for done of total steps, shorter than width columns.
func progressLine(done, total, failed int, took time.Duration, width int) string {
	full := progressBar * done / max(total, 1)
	text := fmt.Sprintf("[%s%s] %d/%d", strings.Repeat("#", full), strings.Repeat(".", progressBar-full), done, total)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	if left := total - done; left > 0 {
		text += ", " + Span(took/time.Duration(max(done, 1))*time.Duration(left)) + " left"
	}
	return text[:min(len(text), width-1)]
}
