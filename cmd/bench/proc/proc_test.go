package proc

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		text string
		want machine
		ok   bool
		why  string
	}{
		{"cpu  65634 2347 27148 34083 1146 5 1550 96 7 8\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
			machine{busy: 65634 + 2347 + 27148 + 5 + 1550, steal: 96,
				total: 65634 + 2347 + 27148 + 34083 + 1146 + 5 + 1550 + 96}, true,
			"guest time is part of user time and not counted twice; steal is not ours"},
		{"cpu  1 2 3 4 5 6 7 8\n", machine{busy: 19, steal: 8, total: 36}, true,
			"kernels before 2.6.33 had no guest_nice"},
		{"cpu  1 2 3 4\n", machine{}, false, "no steal: older than anything that runs Go"},
		{"cpu0 1 2 3 4 5 6 7 8\n", machine{}, false, "one processor alone"},
		{"cpu  1 2 x 4 5 6 7 8\n", machine{}, false, "no number"},
		{"", machine{}, false, "nothing"},
	} {
		got, err := parseStat(c.text)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.why, got, err, c.want)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for _, c := range []struct {
		text string
		want Memory
		ok   bool
		why  string
	}{
		{"Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t   2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t    1024 kB\n",
			Memory{2048 << 10, 1024 << 10}, true, "as the kernel writes it"},
		{"Name:\tVmRSS: 7 kB\nRssAnon:\t1 kB\n", Memory{}, false, "a process may be named as it likes"},
		{"Name:\tkthreadd\n", Memory{}, false, "a kernel thread has no memory"},
		{"Name:\tx\nVmRSS:\tmuch kB\nRssAnon:\t1 kB\n", Memory{}, false, "no number"},
	} {
		got, err := parseStatus(c.text)
		if errors.Is(err, errProc) == c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.why, got, err, c.want)
		}
	}
}

// TestOwnProcess: the kernel's own figures can be read.
func TestOwnProcess(t *testing.T) {
	m, err := MemoryOf(os.Getpid())
	if err != nil || m.Resident < m.Anonymous || m.Anonymous == 0 {
		t.Errorf("memory %+v, %v", m, err)
	}
	meter, err := StartMeter([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	before, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = 50 * time.Millisecond
	for used := time.Duration(0); used < work; {
		now, err := CPUTime(os.Getpid())
		if err != nil || now-before < used {
			t.Fatalf("CPU time %v after %v, %v", now-before, used, err)
		}
		used = now - before
	}
	if others, err := meter.Others(); err != nil || others < 0 || others > 1.5 {
		t.Errorf("others had %v, %v", others, err)
	}
	if _, err := CPUTime(1 << 22); err == nil {
		t.Error("CPU time of a process that cannot be")
	}
}
