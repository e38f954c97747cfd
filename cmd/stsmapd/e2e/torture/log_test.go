package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// stuckLog has the reader of the log stop, as a journald that hangs, while the daemon logs each question. The pipe and
// the queue behind it fill up. Questions about known and new domains are answered all the same; when the reader goes
// on, the log says what is missing. Then the reader stops again, and the daemon must end.
func stuckLog(t *testing.T, r *rig) {
	for range rounds(5, 1) {
		reader := r.logByPipe(t)
		r.restart(t)
		stop := r.load(t)
		reader.signal(t, syscall.SIGSTOP)
		r.injected++
		r.overflow(t)
		r.recovers(t, time.Now()) // a first contact is answered now
		wait(time.Duration(rounds(20, 2)) * time.Second)
		r.recovers(t, time.Now())
		reader.signal(t, syscall.SIGCONT)
		end := time.Now()
		r.logged(t, "log_dropped", 1)
		r.recovers(t, end)
		reader.signal(t, syscall.SIGSTOP)
		r.overflow(t)
		stop()
		r.d.Signal(t, syscall.SIGTERM)
		if code := r.d.Wait(t); code != 0 {
			t.Errorf("with a log that blocks, the daemon ends with code %d", code)
		}
		reader.signal(t, syscall.SIGCONT)
		r.d.setup = ""
		r.d.Start(t)
	}
	r.census(t)
}

// overflow asks until the daemon drops lines of its log.
func (r *rig) overflow(t *testing.T) {
	t.Helper()
	const dropped = "stsmapd_log_lines_dropped_total"
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	known := r.oracle.Known()
	domains := make([]string, 1000)
	before := -1.0
	world.Eventually(t, recoveryLimit, "lines of the log are dropped", func() bool {
		for i := range domains {
			domains[i] = r.any(known)
		}
		if _, err := a.Ask(domains...); err != nil {
			t.Fatalf("asking while nobody reads the log: %v", err)
		}
		now, err := r.d.Gauges(dropped)
		if err != nil {
			t.Fatal(err)
		}
		if before < 0 {
			before = now[dropped]
		}
		return now[dropped] > before
	})
}

// logReader is the process between the daemon and the log.
type logReader struct{ pidFile string }

// logByPipe has the next processes log each question, by a pipe that another process reads.
func (r *rig) logByPipe(t *testing.T) logReader {
	t.Helper()
	dir := t.TempDir()
	pipe, pid := filepath.Join(dir, "pipe"), filepath.Join(dir, "pid")
	r.d.configure(t, "log_level = \"debug\"\n"+r.d.Text())
	r.d.setup = fmt.Sprintf("rm -f %[1]s && mkfifo %[1]s && { cat %[1]s >&2 & } && echo $! > %[2]s && exec 2> %[1]s",
		pipe, pid)
	return logReader{pid}
}

// signal sends a signal to the reader of the process that started last.
func (l logReader) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(l.pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatalf("%v to the reader of the log: %v", s, err)
	}
}
