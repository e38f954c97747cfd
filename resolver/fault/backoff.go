package fault

import "time"

// Backoff is how long to wait after so many failures in a row, 1 or more: first, doubling up to last.
func Backoff(failures int, first, last time.Duration) time.Duration {
	d := first
	for range failures - 1 {
		if d *= 2; d >= last {
			return last
		}
	}
	return d
}
