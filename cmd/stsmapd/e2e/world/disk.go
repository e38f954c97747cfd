package world

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// SmallDisk mounts a file system of this size ("1m") and returns its directory, which every user may write to. It is
// unmounted at the end of the test, after the daemons that use it.
func SmallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := PublicDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777,size="+size); err != nil {
		t.Fatalf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Remount changes a SmallDisk: flags are those of mount(2), such as MS_RDONLY; options are a size ("size=8m"), or "".
func Remount(t testing.TB, disk string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT|flags, options); err != nil {
		t.Fatalf("mounting %s again with flags %#x and options %q: %v", disk, flags, options, err)
	}
}

// FillDisk fills a disk except for spare bytes, and returns a function that frees it again.
func FillDisk(t testing.TB, disk string, spare int64) (free func()) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(disk, &s); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	err := os.WriteFile(ballast, make([]byte, max(0, int64(s.Bavail)*s.Bsize-spare)), 0o600)
	if err != nil && !errors.Is(err, syscall.ENOSPC) { // a daemon wrote meanwhile; the disk is full
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}
