package load

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	for _, d := range []time.Duration{
		0, 1, 127, 128, 255, 256, 257, 511, 512, 1000, 20 * time.Millisecond, time.Hour, 1<<63 - 1} {
		i := bucket(d)
		if up := upper(i); d > up || float64(up-d) > float64(d)/128+1 {
			t.Errorf("%d is in bucket %d, which ends at %d", d, i, up)
		}
		if i > 0 && upper(i-1) >= d {
			t.Errorf("%d is in bucket %d, and fits into the one before, which ends at %d", d, i, upper(i-1))
		}
	}
	if bucket(-time.Second) != 0 {
		t.Error("a clock that goes back is no reason to panic")
	}
}

func TestQuantile(t *testing.T) {
	var empty histogram
	if got := empty.quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
	random := rand.New(rand.NewPCG(8461, 7))
	var all []time.Duration
	var parts [3]histogram
	for i := range 30_000 {
		d := time.Duration(random.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		parts[i%len(parts)].add(d)
	}
	var h histogram
	for i := range parts {
		h.merge(&parts[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all))+0.5), 1)-1]
		if got := h.quantile(q); got < want || float64(got-want) > float64(want)/128+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.max != all[len(all)-1] || h.count != uint64(len(all)) {
		t.Errorf("%d durations, the longest %v; want %d, %v", h.count, h.max, len(all), all[len(all)-1])
	}
}
