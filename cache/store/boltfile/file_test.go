package boltfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nothing is the rest of a file that stands alone.
func nothing(func(string, []byte) bool) {}

func newFile(t *testing.T, path string) *File {
	t.Helper()
	f, r, err := Open(path, nil, nothing)
	if err != nil || r == nil || r.Aside != "" || r.Policies != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	return f
}

// put writes a record of so many bytes of policy.
func put(t *testing.T, f *File, i, extra int) error {
	t.Helper()
	e := storetest.Entry(i, storetest.Clock())
	e.Policy = storetest.Policy(extra)
	value, err := record.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Update([]*Change{{Key: e.Domain.String(), Value: value, Wanted: func([]byte) bool { return true }}})
	return err
}

// TestStuck: bbolt panicked with its locks held. The file can be left, and its records are in the next one.
func TestStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.db")
	f := newFile(t, path)
	for i := range 20 {
		if err := put(t, f, i, 0); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := f.db.Begin(true) // who writes or closes now waits for ever
	if err != nil {
		t.Fatal(err)
	}
	f.sticks()
	if err := put(t, f, 20, 0); err == nil {
		t.Error("a write to a file that is stuck")
	}
	here, broken := f.State()
	if !here || broken == nil {
		t.Errorf("here %v, broken %v", here, broken)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	next, r, err := Open(path, broken, nothing)
	if err != nil || r.Policies != 20 || r.Before != 20 || r.Aside == "" || next.Policies != 20 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i := range 20 {
		if e, err := next.Find(storetest.Domain(i).String()); err != nil || !e.Doubtful() {
			t.Errorf("%d: %+v %v", i, e, err)
		}
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	_ = f.db.Close() // its file is closed already; this gives the map back
}

// TestFailedCommit: a commit that fails is no damage, and what it should have written is not there at the next opening.
func TestFailedCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.db")
	f := newFile(t, path)
	if err := put(t, f, 0, 0); err != nil {
		t.Fatal(err)
	}
	f.db.MaxSize = 1 // bbolt now refuses to grow
	err := put(t, f, 1, 60_000)
	if _, damage := As[*Damage](err); err == nil || damage {
		t.Errorf("Update: %v", err)
	}
	if _, broken := f.State(); broken != nil {
		t.Error(broken)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	f, r, err := Open(path, nil, nothing)
	if err != nil || r != nil || f.Policies != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if err := put(t, f, 1, 60_000); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestLockOfAFileThatWasMoved: who waited for the lock while the file was set aside must not use it.
func TestLockOfAFileThatWasMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.db")
	if err := newFile(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := openFile(path, os.O_RDWR)
		failed <- err
	}()
	testkit.Eventually(t, 10*time.Second, "the second one opens the file", func() bool {
		n := 0
		open, _ := filepath.Glob("/proc/self/fd/*")
		for _, fd := range open {
			if name, _ := os.Readlink(fd); name == path {
				n++
			}
		}
		return n == 2
	})
	if err := os.Rename(path, path+".corrupt"); err != nil {
		t.Fatal(err)
	}
	unlock(f)
	err = <-failed
	if _, ok := As[*Refusal](err); !ok {
		t.Errorf("open: %v", err)
	}
}
