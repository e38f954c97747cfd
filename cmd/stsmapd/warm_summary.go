package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
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
		return term.WriteJSON(w, s)
	}
	out := term.NewSheet(w, 12)
	out.Heading(fmt.Sprintf("%d domains", s.Domains))
	for _, line := range []struct {
		name, colour string
		n            int
	}{
		{"enforce", term.Green, s.Enforce}, {"testing", term.Yellow, s.Testing}, {"none", term.Plain, s.None},
		{"no policy", term.Plain, s.NoPolicy},
		{"ignored", term.Plain, s.Ignored}, {"failed", term.Red, len(s.Failed)}, {"bad lines", term.Red, s.Bad},
	} {
		if line.n == 0 {
			line.colour = term.Plain
		}
		out.Line(line.name, line.colour, strconv.Itoa(line.n))
	}
	if len(s.Failed) == 0 || out.Err != nil {
		return out.Err
	}
	t := term.NewTable(w, "FAILED", "OUTCOME", "REASON")
	for _, f := range s.Failed {
		t.Row(term.Text(f.Domain), term.Painted(term.Red, f.Outcome), term.Text(f.Reason))
	}
	return t.End()
}
