package soak

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is the daemon's size at a time.
type sample struct {
	at         time.Duration // since the begin
	resident   float64       // MiB, with what is mapped of the store
	anonymous  float64       // MiB
	heap       float64       // MiB in use by Go
	files      float64
	goroutines float64
	store      float64 // KiB
}

const sampleHeader = "     time  questions    q/s  slowest  RSS MiB  anon MiB  heap MiB  files  goroutines  store " +
	"KiB  policies  negative  wrong  lost\n"

// sample takes a sample and prints it.
func (s *soak) sample(t *testing.T) {
	gauges, err := s.target.Gauges("go_goroutines", "go_memstats_heap_inuse_bytes", "stsmapd_store_policies",
		"stsmapd_negative_entries")
	if err != nil {
		t.Errorf("the daemon's metrics: %v", err)
		return
	}
	store, err := os.Stat(s.target.Store())
	if err != nil {
		t.Error(err)
		return
	}
	const mib = 1 << 20
	use := s.target.Usage(t)
	now := sample{
		at: time.Since(s.begin), resident: float64(use.Resident) / mib, anonymous: float64(use.Anonymous) / mib,
		heap: gauges["go_memstats_heap_inuse_bytes"] / mib, files: float64(use.Files),
		goroutines: gauges["go_goroutines"],
		store:      float64(store.Size()) / 1024,
	}
	s.samples = append(s.samples, now)
	tally := s.oracle.Tally()
	fmt.Printf("%9v %10d %6.0f %8v %8.1f %9.1f %9.1f %6.0f %11.0f %10.0f %9.0f %9.0f %6d %5d\n",
		now.at.Round(time.Second), tally.Questions,
		float64(tally.Questions)/now.at.Seconds(), time.Duration(s.slowest.Swap(0)).Round(100*time.Microsecond),
		now.resident, now.anonymous,
		now.heap, now.files, now.goroutines, now.store, gauges["stsmapd_store_policies"],
		gauges["stsmapd_negative_entries"], tally.Wrong, tally.Lost)
	s.p.ForgetQuestions()
}

// measure is one of the figures that must stay flat.
type measure struct {
	name  string
	of    func(sample) float64
	slack float64 // that the last quarter's median may have over the first's, besides a tenth
}

func measures() []measure {
	return []measure{
		{"RSS MiB", func(s sample) float64 { return s.resident }, 4},
		{"anonymous MiB", func(s sample) float64 { return s.anonymous }, 4},
		{"files", func(s sample) float64 { return s.files }, 10},
		{"goroutines", func(s sample) float64 { return s.goroutines }, 20},
		{"store KiB", func(s sample) float64 { return s.store }, 64},
	}
}

// minSamples is how many there must be after the warm-up for a verdict: half an hour's.
const minSamples = 24

// verdict compares the medians of the quarters of a run, the first fifth (the warm-up) left out. It says what they are,
// and whether all is flat; a run that is too short for a verdict counts as flat.
func verdict(all []sample) (text string, flat bool) {
	rest := all[len(all)/5:]
	if len(rest) < minSamples {
		return fmt.Sprintf("verdict: none, after %d samples; it takes %d\n", len(rest), minSamples), true
	}
	var b strings.Builder
	flat = true
	fmt.Fprintf(&b, "medians of the quarters after %v of warm-up:\n", rest[0].at.Round(time.Minute))
	for _, m := range measures() {
		var medians [4]float64
		for q := range medians {
			medians[q] = median(rest[q*len(rest)/4:(q+1)*len(rest)/4], m.of)
		}
		verdict := "flat"
		if medians[3] > medians[0]*1.1+m.slack {
			verdict, flat = "GROWS", false
		}
		fmt.Fprintf(&b, "%-14s %9.1f %9.1f %9.1f %9.1f  %s\n", m.name, medians[0], medians[1], medians[2], medians[3],
			verdict)
	}
	fmt.Fprintf(&b, "verdict: %s\n", map[bool]string{true: "flat", false: "NOT FLAT"}[flat])
	return b.String(), flat
}

func median(of []sample, what func(sample) float64) float64 {
	values := make([]float64, len(of))
	for i, s := range of {
		values[i] = what(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// TestVerdict tests that the verdict finds what grows, and not what only varies.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		why  string
		at   func(i int) sample
		n    int
		flat bool
		says string
	}{
		{"too short", func(i int) sample { return sample{resident: float64(i * 100)} }, 20, true, "verdict: none"},
		{"steady", func(i int) sample {
			return sample{resident: 50 + float64(i%7), files: 30, goroutines: 40, store: 1000}
		}, 120, true, "verdict: flat"},
		{"a warm-up, then steady", func(i int) sample { return sample{resident: float64(min(i, 20) * 10)} }, 120, true,
			"verdict: flat"},
		{"memory leaks", func(i int) sample { return sample{resident: 50 + float64(i)/4} }, 120, false, "NOT FLAT"},
		{"files leak", func(i int) sample { return sample{files: 30 + float64(i)/4} }, 120, false, "NOT FLAT"},
		{"goroutines leak", func(i int) sample { return sample{goroutines: 30 + float64(i)} }, 120, false, "NOT FLAT"},
		{"the store grows", func(i int) sample { return sample{store: 1000 + 10*float64(i)} }, 120, false, "NOT FLAT"},
	} {
		var all []sample
		for i := range c.n {
			all = append(all, c.at(i))
		}
		if text, flat := verdict(all); flat != c.flat || !strings.Contains(text, c.says) {
			t.Errorf("%s: %v\n%s", c.why, flat, text)
		}
	}
}
