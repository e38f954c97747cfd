//go:build !linux

package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boot is the time since the host was booted, which may stop while it sleeps; it cannot be set.
func Boot() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
