// Package proc reads what processes use of the machine: CPU time and memory.
package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is the CPU time that a process has used so far, user and system, all its threads, also those that have ended.
// Its clock is exact to the nanosecond, where /proc/PID/stat counts hundredths of a second.
func CPUTime(pid int) (time.Duration, error) {
	const processClock = 2 // CPUCLOCK_SCHED of the Linux kernel: ids of CPU clocks are ^pid<<3 and this
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|processClock), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// machine is CPU time of all processors since the start, in ticks: what /proc/stat has.
type machine struct {
	busy  int64 // in processes and in the kernel
	steal int64 // by the host of this virtual machine
	total int64
}

var errProc = errors.New("not of the form that the kernel writes")

// parseStat reads the first line of /proc/stat (proc(5)).
func parseStat(text string) (m machine, err error) {
	first, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(first)
	if len(fields) < 9 || fields[0] != "cpu" {
		return m, fmt.Errorf("/proc/stat: %w", errProc)
	}
	const idle, iowait, steal = 3, 4, 7 // after user, nice and system; guest time is in user and nice
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		m.total += ticks
		switch i {
		case idle, iowait:
		case steal:
			m.steal = ticks
		default:
			m.busy += ticks
		}
	}
	return m, nil
}

// Memory is what a process has in RAM, in bytes.
type Memory struct {
	Resident  int64
	Anonymous int64 // of it, what is no file's
}

// parseStatus reads /proc/PID/status (proc(5)).
func parseStatus(text string) (m Memory, err error) {
	for key, to := range map[string]*int64{"VmRSS:": &m.Resident, "RssAnon:": &m.Anonymous} {
		_, after, found := strings.Cut(text, "\n"+key)
		if _, err := fmt.Sscanf(after, "%d kB", to); !found || err != nil {
			return m, fmt.Errorf("%s in /proc/PID/status: %w", key, errProc)
		}
		*to <<= 10
	}
	return m, nil
}

// MemoryOf returns the memory of a process.
func MemoryOf(pid int) (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, err
	}
	return parseStatus(string(text))
}

// tick is the unit of /proc/stat on Linux, for programs (USER_HZ).
const tick = 10 * time.Millisecond

// Meter measures who used the processors since it was started.
type Meter struct {
	own  []int // processes of this measurement
	was  machine
	used time.Duration // by them
}

// StartMeter starts a Meter. own are the ids of the processes that belong to the measurement.
func StartMeter(own []int) (Meter, error) {
	m := Meter{own: own}
	var err error
	m.was, m.used, err = m.read()
	return m, err
}

func (m Meter) read() (machine, time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machine{}, 0, err
	}
	now, err := parseStat(string(text))
	if err != nil {
		return machine{}, 0, err
	}
	var ended unix.Rusage // of children of ours, whose clocks are gone
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &ended); err != nil {
		return machine{}, 0, err
	}
	used := time.Duration(ended.Utime.Nano() + ended.Stime.Nano())
	for _, pid := range m.own {
		t, err := CPUTime(pid)
		if err != nil {
			return machine{}, 0, err
		}
		used += t
	}
	return now, used, nil
}

// Others returns the part (0 to 1) of the machine that other processes, or other machines of the same host, have had
// since the start. A kernel with CONFIG_IRQ_TIME_ACCOUNTING does not count the time for packets as the CPU time of a
// process; there the time for our packets counts as others'.
func (m Meter) Others() (float64, error) {
	now, used, err := m.read()
	if err != nil {
		return 0, err
	}
	total := float64(max(now.total-m.was.total, 1))
	foreign := float64(now.busy-m.was.busy) - float64(used-m.used)/float64(tick)
	return max(foreign, float64(now.steal-m.was.steal), 0) / total, nil
}
