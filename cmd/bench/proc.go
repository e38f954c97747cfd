package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time that a process has used so far, user and system, all its threads, also those that have ended.
// Its clock is exact to the nanosecond, where /proc/PID/stat counts hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
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

// memory is what a process has in RAM, in bytes.
type memory struct {
	resident  int64
	anonymous int64 // of it, what is no file's
}

// parseStatus reads /proc/PID/status (proc(5)).
func parseStatus(text string) (m memory, err error) {
	for key, to := range map[string]*int64{"VmRSS:": &m.resident, "RssAnon:": &m.anonymous} {
		_, after, found := strings.Cut(text, "\n"+key)
		if _, err := fmt.Sscanf(after, "%d kB", to); !found || err != nil {
			return m, fmt.Errorf("%s in /proc/PID/status: %w", key, errProc)
		}
		*to <<= 10
	}
	return m, nil
}

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	return parseStatus(string(text))
}

// tick is the unit of /proc/stat on Linux, for programs (USER_HZ).
const tick = 10 * time.Millisecond

// meter measures who used the processors between two moments.
type meter struct {
	own  []int // processes of this measurement
	was  machine
	used time.Duration // by them
}

func startMeter(own []int) (meter, error) {
	m := meter{own: own}
	var err error
	m.was, m.used, err = m.read()
	return m, err
}

func (m meter) read() (machine, time.Duration, error) {
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
		t, err := cpuTime(pid)
		if err != nil {
			return machine{}, 0, err
		}
		used += t
	}
	return now, used, nil
}

// others is the part (0 to 1) of the machine that since the start went to other processes, or to another machine of the
// host. A kernel with CONFIG_IRQ_TIME_ACCOUNTING keeps the time for packets out of processes' CPU time: there ours
// counts as others'.
func (m meter) others() (float64, error) {
	now, used, err := m.read()
	if err != nil {
		return 0, err
	}
	total := float64(max(now.total-m.was.total, 1))
	foreign := float64(now.busy-m.was.busy) - float64(used-m.used)/float64(tick)
	return max(foreign, float64(now.steal-m.was.steal), 0) / total, nil
}
