package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
)

// Size of a chart in its own units. A chart is as wide as the page lets it be.
const (
	chartWidth  = 480
	chartHeight = 80
)

// chart is a bar chart of the history, with the numbers that it shows.
type chart struct {
	Title  string
	Period string // "24 hours"
	Slot   string // the time of one bar
	Most   uint64 // height of the highest bar
	Sum    uint64
	Shapes []shape
	Rows   []chartRow
}

// shape is the outline of all bars of a colour.
type shape struct{ Colour, Path string }

// chartRow is the number of one outcome.
type chartRow struct {
	Colour, Name string
	N            uint64
}

// charts returns the charts of the first page.
func charts(h *history.Recorder, now time.Time) (all []chart) {
	for _, of := range []struct{ title, prefix string }{
		{"Answers by outcome", answerCount}, {"DNS lookups by result", lookupCount}, {"Policy fetches by result",
			fetchCount},
	} {
		for _, p := range []struct {
			period     history.Period
			name, slot string
			join       int // slots of the history in a bar
		}{{history.Day(), "24 hours", "15 minutes", 3}, {history.Fortnight(), "14 days", "4 hours", 4}} {
			c := newChart(of.prefix, joined(h.Slots(now, p.period), p.join))
			c.Title, c.Period, c.Slot = of.title, p.name, p.slot
			all = append(all, c)
		}
	}
	return all
}

// joined adds up each n slots.
func joined(slots []history.Counts, n int) []history.Counts {
	var all []history.Counts
	for part := range slices.Chunk(slots, n) {
		sum := history.Counts{}
		for _, counts := range part {
			for name, n := range counts {
				sum[name] += n
			}
		}
		all = append(all, sum)
	}
	return all
}

// chartColours returns the colours from the bottom of a bar to its top, which style.css knows.
func chartColours() []string { return []string{"good", "idle", "warm", "bad"} }

// colourOf returns the colour of a count.
func colourOf(name string) string {
	switch name {
	case answerCount + "enforce", answerCount + "dane_only", lookupCount + "announced", fetchCount + "ok":
		return "good"
	case answerCount + "none", answerCount + "no_policy", lookupCount + "no_record":
		return "idle"
	case answerCount + "testing", answerCount + "ignored", lookupCount + "multiple_records",
		lookupCount + "invalid_record":
		return "warm"
	}
	return "bad"
}

// newChart draws the counts whose names have a prefix, one bar for each slot.
func newChart(prefix string, slots []history.Counts) chart {
	var c chart
	sums := history.Counts{}
	heights := make([]map[string]uint64, len(slots))
	for i, counts := range slots {
		heights[i] = map[string]uint64{}
		for name, n := range counts {
			if strings.HasPrefix(name, prefix) {
				heights[i][colourOf(name)] += n
				sums[name] += n
			}
		}
		c.Most = max(c.Most, total(counts, prefix))
	}
	for name, n := range sums {
		c.Sum += n
		c.Rows = append(c.Rows, chartRow{colourOf(name), strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", " "),
			n})
	}
	slices.SortFunc(c.Rows, func(a, b chartRow) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Name,
			b.Name))
	})
	paths := map[string]*strings.Builder{}
	width := float64(chartWidth) / float64(len(slots))
	for i, bar := range heights {
		bottom := float64(chartHeight)
		for _, colour := range chartColours() {
			if bar[colour] == 0 {
				continue
			}
			height := max(float64(bar[colour])/float64(c.Most)*chartHeight, 1)
			if paths[colour] == nil {
				paths[colour] = &strings.Builder{}
			}
			fmt.Fprintf(paths[colour], "M%.1f %.1fh%.1fv%.1fh-%.1fz", float64(i)*width, bottom, width*0.85, -height,
				width*0.85)
			bottom -= height
		}
	}
	for _, colour := range chartColours() {
		if paths[colour] != nil {
			c.Shapes = append(c.Shapes, shape{colour, paths[colour].String()})
		}
	}
	return c
}
