package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// smallDisk mounts a file system of a MiB, where this process may, and returns its directory and a function that mounts
// it again with other flags and options.
func smallDisk(t *testing.T) (dir string, remount func(flags uintptr, options string)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		testkit.Skip(t, "may not mount a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(flags uintptr, options string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, options); err != nil {
			t.Fatalf("remount with flags %#x and options %q: %v", flags, options, err)
		}
	}
}

// fillDisk fills a disk with a file, so that the store meets an error there, and returns the file and the entry that
// could not be put.
func fillDisk(t *testing.T, dir string, b *Store) (ballast string, late resolver.Entry) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("ballast: %v", err)
	}
	late = storetest.Entry(100, storetest.Clock())
	late.Policy = storetest.Policy(5000)
	if err := b.Put(t.Context(), late); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Put on a full disk: %v", err)
	}
	return ballast, late
}

// TestReadOnlyDisk: the system makes a file system read-only when its disk fails. What the store holds can be read as
// before; a Put says that the disk cannot be written; and when it can again, all goes on.
func TestReadOnlyDisk(t *testing.T) {
	dir, remount := smallDisk(t)
	l := &testkit.Log{}
	b := openStore(t, filepath.Join(dir, "policies.db"), l)
	put := fill(t, b, 20, noExtra)
	_, late := fillDisk(t, dir, b)
	remount(syscall.MS_RDONLY, "")
	check := func(when string) {
		t.Helper()
		for _, e := range put {
			if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
				t.Fatalf("%s: %s: %+v %v", when, e.Domain, got, err)
			}
		}
		if _, err := b.Get(t.Context(), late.Domain); !errors.Is(err, resolver.ErrNotCached) {
			t.Errorf("%s: what is not there: %v", when, err)
		}
		n := 0
		for _, err := range b.All(t.Context()) {
			if err != nil {
				t.Errorf("%s: All: %v", when, err)
			}
			n++
		}
		if n != len(put) || b.Len() != n {
			t.Errorf("%s: All yields %d and Len is %d, want %d", when, n, b.Len(), len(put))
		}
	}
	check("read-only")
	for range 3 {
		err := b.Put(t.Context(), late)
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), ": put: ") {
			t.Errorf("Put: %v", err)
		}
		if err := b.Delete(t.Context(), storetest.Domain(1)); !errors.Is(err, syscall.EROFS) {
			t.Errorf("Delete: %v", err)
		}
		check("after a failed Put")
	}
	remount(0, "size=64m")
	if err := b.Put(t.Context(), late); err != nil {
		t.Fatalf("Put with the disk writable again: %v", err)
	}
	closeStore(t, b)
	b = openStore(t, filepath.Join(dir, "policies.db"), l)
	if got, err := b.Get(t.Context(), late.Domain); err != nil || !storetest.Equal(late, got) {
		t.Errorf("after a restart: %+v %v", got, err)
	}
	if len(l.Lines()) > 0 {
		t.Errorf("log: %q", l.Lines())
	}
	closeStore(t, b)
}

// TestOlderCommitOnReadOnlyDisk: a file that has lost its last commit is not read either where it cannot be recovered.
func TestOlderCommitOnReadOnlyDisk(t *testing.T) {
	dir, remount := smallDisk(t)
	path := filepath.Join(dir, "policies.db")
	b := openStore(t, path, &testkit.Log{})
	old := storetest.Entry(1, storetest.Clock())
	later := storetest.Entry(1, storetest.Clock().Add(time.Hour))
	var image []byte
	for _, e := range []resolver.Entry{old, later} {
		var err error
		if image, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	ballast, _ := fillDisk(t, dir, b)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	write(t, path, image)
	remount(syscall.MS_RDONLY, "")
	for range 3 {
		if e, err := b.Get(t.Context(), old.Domain); err == nil || errors.Is(err, resolver.ErrNotCached) {
			t.Errorf("the disk cannot be written: %+v %v", e, err)
		}
	}
	remount(0, "size=64m")
	if e, err := b.Get(t.Context(), old.Domain); err != nil || !e.Doubtful() {
		t.Errorf("it can again: %+v %v", e, err)
	}
}

// TestOpenOnReadOnlyDisk: a store that cannot be written is refused at the start, whether it is there or not.
func TestOpenOnReadOnlyDisk(t *testing.T) {
	dir, remount := smallDisk(t)
	there := filepath.Join(dir, "there.db")
	closeStore(t, openStore(t, there, &testkit.Log{}))
	remount(syscall.MS_RDONLY, "")
	for _, path := range []string{there, filepath.Join(dir, "policies.db"), filepath.Join(dir, "new", "policies.db")} {
		_, err := Open(path, nil)
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), ": open: ") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestFullFilesystem fills a real one, where this process may mount it; TestFullDisk needs no such right.
func TestFullFilesystem(t *testing.T) {
	dir, remount := smallDisk(t)
	room := func() error { remount(0, "size=64m"); return nil }
	if err := fillUp(filepath.Join(dir, "policies.db"), room); err != nil {
		t.Error(err)
	}
}
