package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// target is a figure that a row measures, and how good it must be.
type target struct {
	what    string
	unit    string
	must    float64 // NaN: no limit
	aim     float64 // NaN: none
	atLeast bool    // a larger value is better
	digits  int     // after the point
}

// line is a line of the table: a target and its values.
type line struct {
	row    string
	target target
	values []float64 // of the rounds
	spoilt int       // of them
}

// lines returns the lines of what a row has measured.
func (r row) lines(got result) ([]line, error) {
	var lines []line
	for i, t := range r.targets {
		l := line{row: r.name, target: t}
		for _, s := range got.samples {
			if len(s.values) != len(r.targets) {
				return nil, fmt.Errorf("%d values for %d targets", len(s.values), len(r.targets))
			}
			l.values = append(l.values, s.values[i])
			if s.others > spoiltAbove {
				l.spoilt++
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// leastSpoilt returns n samples, of those in which other processes had least of the machine.
func leastSpoilt(samples []sample, n int) []sample {
	sorted := slices.Clone(samples)
	slices.SortStableFunc(sorted, func(a, b sample) int {
		switch { // rounds that were not spoilt count alike, the first ones first
		case a.others <= spoiltAbove && b.others <= spoiltAbove, a.others == b.others:
			return 0
		case a.others < b.others:
			return -1
		}
		return 1
	})
	return sorted[:min(n, len(sorted))]
}

// median returns the median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// verdict says whether the figure, as it is printed, is good enough.
func (t target) verdict(value float64) string {
	unit := math.Pow10(t.digits)
	value = math.Round(value*unit) / unit
	good := func(limit float64) bool {
		if t.atLeast {
			return value >= limit
		}
		return value <= limit
	}
	switch {
	case math.IsNaN(t.must):
		return "–"
	case !good(t.must):
		return "NOT MET"
	case !math.IsNaN(t.aim) && good(t.aim):
		return "met, aim too"
	}
	return "met"
}

// figure formats a value of the target; "–" for NaN.
func (t target) figure(value float64) string {
	if math.IsNaN(value) {
		return "–"
	}
	return thousands(strconv.FormatFloat(value, 'f', t.digits, 64))
}

// thousands returns the number with commas between groups of three digits.
func thousands(number string) string {
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(number, "-"), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if strings.HasPrefix(number, "-") {
		return "-" + whole
	}
	return whole
}

// format returns the table in Markdown.
func format(lines []line) string {
	head := []string{"row", "what", "must", "aim", "measured", "range", "", "spoilt"}
	table := [][]string{head, slices.Repeat([]string{"---"}, len(head))}
	for _, l := range lines {
		t, value := l.target, median(l.values)
		what := t.what
		if t.unit != "" {
			what += ", " + t.unit
		}
		table = append(table, []string{
			l.row, what, t.figure(t.must), t.figure(t.aim), t.figure(value),
			t.figure(slices.Min(l.values)) + " to " + t.figure(slices.Max(l.values)), t.verdict(value),
			fmt.Sprintf("%d of %d", l.spoilt, len(l.values)),
		})
	}
	var out strings.Builder
	widths := make([]int, len(table[0]))
	for _, cells := range table {
		for i, cell := range cells {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, cells := range table {
		for i, cell := range cells {
			fmt.Fprintf(&out, "| %-*s ", widths[i], cell)
		}
		out.WriteString("|\n")
	}
	return out.String()
}
