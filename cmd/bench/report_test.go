package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 100, 2, 3}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestLeastSpoilt(t *testing.T) {
	of := func(others ...float64) (s []sample) {
		for _, o := range others {
			s = append(s, sample{others: o})
		}
		return s
	}
	for _, c := range []struct {
		samples, want []sample
		why           string
	}{
		{of(0.04, 0.01, 0.03), of(0.04, 0.01), "of good rounds the first count: no choice among figures"},
		{of(0.9, 0.01, 0.5, 0.04), of(0.01, 0.04), "spoilt ones go"},
		{of(0.9, 0.2, 0.5), of(0.2, 0.5), "where all are spoilt, the least"},
		{of(0.9), of(0.9), "where there are too few, what there is"},
	} {
		got := leastSpoilt(c.samples, 2)
		same := len(got) == len(c.want)
		for i := range got {
			same = same && got[i].others == c.want[i].others
		}
		if !same {
			t.Errorf("%s: %+v of %+v", c.why, got, c.samples)
		}
	}
}

func TestVerdict(t *testing.T) {
	ratio := target{must: 1.15, aim: 1, digits: 2}
	for _, c := range []struct {
		target target
		value  float64
		want   string
		why    string
	}{
		{ratio, 1.154, "met", "what counts is the figure that is printed"},
		{ratio, 1.156, "NOT MET", "1.16"},
		{ratio, 1.004, "met, aim too", "1.00"},
		{target{must: 10_000, aim: math.NaN(), atLeast: true}, 10_000, "met", "large is good"},
		{target{must: 10_000, aim: math.NaN(), atLeast: true}, 9_999, "NOT MET", "large is good"},
		{target{must: math.NaN(), aim: math.NaN()}, 1, "–", "told only"},
	} {
		if got := c.target.verdict(c.value); got != c.want {
			t.Errorf("%v: %q, want %q: %s", c.value, got, c.want, c.why)
		}
	}
}

func TestThousands(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1,000", "1234567.25": "1,234,567.25", "-1000.5": "-1,000.5", "-0.8": "-0.8",
		"100000": "100,000",
	} {
		if got := thousands(number); got != want {
			t.Errorf("%s is printed as %s, want %s", number, got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	r := row{name: "cold", targets: []target{
		{what: "cold: p50", unit: "ms", must: 24, aim: 21, digits: 1},
		{what: "cold: DNS queries", must: 5500, aim: math.NaN()},
	}}
	lines, err := r.lines(result{samples: []sample{
		{values: []float64{21.04, 5750}}, {values: []float64{20.9, 5751}, others: 0.3},
		{values: []float64{30.25, 5750}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "table.golden")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := format(lines); got != string(want) {
		t.Errorf("%s has\n%swant\n%s", golden, want, got)
	}
	if _, err := r.lines(result{samples: []sample{{values: []float64{1}}}}); err == nil {
		t.Error("a round without a value for each target is a mistake")
	}
}
