package load

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/128 of their value wide, from 1 ns on. Its zero value is
// empty.
type histogram struct {
	buckets [58 * subBuckets]uint64
	count   uint64
	max     time.Duration
}

const subBuckets = 128 // for each power of two

// bucket returns the index of the bucket of a duration. Up to 255 ns each nanosecond has its own.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-8, 0)
	return shift*subBuckets + int(v>>shift)
}

// upper returns the longest duration in a bucket.
func upper(i int) time.Duration {
	shift := max(i/subBuckets-1, 0)
	return time.Duration(uint64(i-shift*subBuckets+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucket(d)]++
	h.count++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.max = max(h.max, o.max)
}

// quantile returns the duration that a part q (0 to 1) of all durations do not exceed, at most 1/128 too long. It is 0
// for an empty histogram.
func (h *histogram) quantile(q float64) time.Duration {
	need := max(uint64(q*float64(h.count)+0.5), 1)
	var seen uint64
	for i, n := range h.buckets {
		if seen += n; seen >= need {
			return min(upper(i), h.max)
		}
	}
	return h.max
}
