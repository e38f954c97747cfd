package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
)

// summary is what warm has found.
type summary struct {
	mu sync.Mutex

	Domains  int `json:"domains"` // that were asked about
	Enforce  int `json:"enforce"`
	Testing  int `json:"testing"`
	None     int `json:"none"`
	NoPolicy int `json:"no_policy"`
	Ignored  int `json:"ignored"` // by an override
	Bad      int `json:"bad_lines"`

	Failed []admin.Warmed `json:"failed"`
}

// add counts one domain, and returns how many have failed by now.
func (s *summary) add(w admin.Warmed) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Domains++
	switch w.Outcome {
	case "enforce":
		s.Enforce++
	case "testing":
		s.Testing++
	case "none":
		s.None++
	case "no_policy":
		s.NoPolicy++
	case "ignored":
		s.Ignored++
	default:
		s.Failed = append(s.Failed, w)
	}
	return len(s.Failed)
}

// write prints the summary when all is done.
func (s *summary) write(w io.Writer, asJSON bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.Failed, func(a, b admin.Warmed) int { return strings.Compare(a.Domain, b.Domain) })
	if asJSON {
		if s.Failed == nil {
			s.Failed = []admin.Warmed{}
		}
		return writeJSON(w, s)
	}
	out := newSheet(w, 12)
	out.heading(fmt.Sprintf("%d domains", s.Domains))
	for _, line := range []struct {
		name, colour string
		n            int
	}{
		{"enforce", green, s.Enforce}, {"testing", yellow, s.Testing}, {"none", plain, s.None}, {"no policy", plain, s.NoPolicy},
		{"ignored", plain, s.Ignored}, {"failed", red, len(s.Failed)}, {"bad lines", red, s.Bad},
	} {
		if line.n == 0 {
			line.colour = plain
		}
		out.line(line.name, line.colour, strconv.Itoa(line.n))
	}
	if len(s.Failed) == 0 || out.err != nil {
		return out.err
	}
	t := newTable(w, "FAILED", "OUTCOME", "REASON")
	for _, f := range s.Failed {
		t.row(cell{f.Domain, plain}, cell{f.Outcome, red}, cell{f.Reason, plain})
	}
	return t.end()
}

// progress is a bar on a terminal; elsewhere it is nothing.
type progress struct {
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

func newProgress(out io.Writer, total int) *progress {
	return &progress{out: out, width: terminalWidth(out), total: total, begin: time.Now()}
}

// step counts one domain more, of which so many failed.
func (p *progress) step(failed int) {
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

// end takes the bar away.
func (p *progress) end() {
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
		text += ", " + span(took/time.Duration(max(done, 1))*time.Duration(left)) + " left"
	}
	return text[:min(len(text), width-1)]
}
