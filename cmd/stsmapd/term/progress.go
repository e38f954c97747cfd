package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress is a bar on a terminal; elsewhere it is nothing.
type Progress struct {
	out   io.Writer
	width int // of the terminal; 0: there is none
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

// NewProgress makes a bar for so many steps.
func NewProgress(out io.Writer, total int) *Progress {
	return &Progress{out: out, width: Width(out), total: total, begin: time.Now()}
}

// Step counts one domain more, of which so many failed.
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

// End takes the bar away.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 && p.done > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// progressLine is the bar after so many of a total, in less than width columns.
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
