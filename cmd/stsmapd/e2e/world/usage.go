package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Usage is what a process has of the machine.
type Usage struct {
	Resident  int64 // bytes of RAM, with what it has mapped of files
	Anonymous int64 // of those, what is its own
	Virtual   int64 // bytes of addresses
	Files     int   // open file descriptors
}

// Usage returns what the daemon has now; the zero Usage when it has ended.
func (d *Daemon) Usage(t testing.TB) Usage {
	t.Helper()
	proc := filepath.Join(procDir(t), fmt.Sprint(d.Pid()))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	files, err2 := os.ReadDir(filepath.Join(proc, "fd"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
		return Usage{}
	}
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return Usage{
		Resident: kilobytes(string(status), "VmRSS:"), Anonymous: kilobytes(string(status), "RssAnon:"),
		Virtual: kilobytes(string(status), "VmSize:"), Files: len(files),
	}
}

// kilobytes returns the field of a /proc/<pid>/status in bytes, 0 where there is none: a process that has ended has no
// memory.
func kilobytes(status, field string) int64 {
	_, after, _ := strings.Cut(status, field)
	var n int64
	_, _ = fmt.Sscanf(after, "%d kB", &n)
	return n << 10
}

// procDir is a /proc of the world's own: in the machine's, processes have other numbers.
func procDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.Getenv(envDir), "proc")
	switch err := os.Mkdir(dir, 0o555); {
	case errors.Is(err, fs.ErrExist):
	case err != nil:
		t.Fatal(err)
	default:
		if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
			t.Fatalf("mounting a proc file system: %v", err)
		}
	}
	Eventually(t, Hang, "the proc file system", func() bool { // another test may be about to mount it
		_, err := os.Stat(filepath.Join(dir, "1"))
		return err == nil
	})
	return dir
}
