package torture

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func diskFaults() []fault {
	return []fault{
		{name: "disk full", run: func(t *testing.T, r *rig) { r.breakDisk(t, fillUp) }},
		{name: "disk read-only", run: func(t *testing.T, r *rig) { r.breakDisk(t, makeReadOnly) }},
		{name: "writes fail (file too large)", run: func(t *testing.T, r *rig) { r.breakDisk(t, limitWrites) }},
	}
}

// breakDisk injects a fault while the daemon learns and changes policies, until it logs the fault. What was answered
// meanwhile must be remembered, and written after the fault.
func (r *rig) breakDisk(t *testing.T, inject func(*testing.T, *rig) (end func())) {
	for i := range rounds(3, 1) {
		stop := r.load(t)
		undo := inject(t, r)
		r.injected++
		r.logged(t, "store_write_failed", i+1)
		wait(time.Second)
		stop()
		r.remembers(t, r.oracle.Known())
		undo()
		end := time.Now()
		r.logged(t, "store_recovered", i+1)
		r.recovers(t, end)
	}
	r.census(t)
}

// disk returns the directory of the store's file system.
func (r *rig) disk() string { return filepath.Dir(r.d.StateDir) }

func fillUp(t *testing.T, r *rig) func() { return world.FillDisk(t, r.disk(), 0) }

// makeReadOnly does what the system does with a disk that fails. That is not allowed while a file on it is open for
// writing; after a failed write the daemon has none open.
func makeReadOnly(t *testing.T, r *rig) func() {
	free := world.FillDisk(t, r.disk(), 0)
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	world.Eventually(t, recoveryLimit, "making the disk read-only", func() bool {
		if _, err := a.Ask(r.fresh()); err != nil {
			t.Fatal(err)
		}
		err := unix.Mount("tmpfs", r.disk(), "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		if err != nil && !errors.Is(err, syscall.EBUSY) {
			t.Fatal(err)
		}
		return err == nil
	})
	return func() { world.Remount(t, r.disk(), 0, ""); free() }
}

// limitWrites stops the file from growing, and makes the daemon learn long policies until it must grow.
func limitWrites(t *testing.T, r *rig) func() {
	info, err := os.Stat(r.d.Store())
	if err != nil {
		t.Fatal(err)
	}
	before := len(r.d.Log.Lines("event=store_write_failed"))
	r.d.Limit(t, unix.RLIMIT_FSIZE, uint64(info.Size()))
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	world.Eventually(t, recoveryLimit, "a file that may not grow", func() bool {
		domain := r.fresh()
		r.p.Publish(domain, world.Publication{ID: 1, Policy: 1, Length: 60_000})
		if _, err := a.Ask(domain); err != nil {
			t.Fatal(err)
		}
		return len(r.d.Log.Lines("event=store_write_failed")) > before
	})
	return func() { r.d.Limit(t, unix.RLIMIT_FSIZE, unix.RLIM_INFINITY) }
}
