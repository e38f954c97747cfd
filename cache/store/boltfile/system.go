package boltfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockPatience is how long a file's lock is waited for: a stsmapd that is shutting down has a chance to finish.
const lockPatience = time.Second

// holder names the process that has a file locked, as far as /proc tells.
func holder(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "stsmapd?"
	}
	locks, _ := os.ReadFile("/proc/locks")
	inode := fmt.Sprintf(":%d", info.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(locks)) { // 1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF
		if w := strings.Fields(line); len(w) > 5 && w[1] == "FLOCK" && strings.HasSuffix(w[5], inode) {
			if name, err := os.ReadFile("/proc/" + w[4] + "/comm"); err == nil {
				return strings.TrimSpace(string(name)) + ", process " + w[4]
			}
		}
	}
	return "stsmapd?"
}

// unlock closes a file and gives up its lock even if a memory map still holds on to it.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}

// isSystem reports whether an error is the system's, and says nothing about what is in the file.
func isSystem(err error) bool {
	_, number := As[syscall.Errno](err)
	_, path := As[*fs.PathError](err)
	return number || path
}

// makeDir makes the store's directory, for its owner alone, and all above it that is missing, durably.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
		return err
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

// SyncDir makes a directory's names durable: without it a crash may take back a file that was created or renamed.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
