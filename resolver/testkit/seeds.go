package testkit

import (
	"iter"
	"os"
	"strconv"
)

// Seeds yields the seeds of a test that draws at random, 0 to n-1. Where the variable STSMAPD_SEED is a number it
// yields that one alone: a failure that names its seed is run again by it.
func Seeds(n int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if seed, err := strconv.ParseUint(os.Getenv("STSMAPD_SEED"), 10, 64); err == nil {
			yield(seed)
			return
		}
		for seed := range uint64(n) {
			if !yield(seed) {
				return
			}
		}
	}
}
