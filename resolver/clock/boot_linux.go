package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boot is the time since the host was booted, sleep included; it cannot be set.
func Boot() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0 // no Linux that Go supports lacks it
	}
	return time.Duration(t.Nano())
}
