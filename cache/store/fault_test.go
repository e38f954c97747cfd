package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store/boltfile"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestFaultInsideBolt: the file is cut under bbolt's map while bbolt writes. The fault is an error, and the file can
// still be closed.
func TestFaultInsideBolt(t *testing.T) {
	s := newSpecimen(t)
	path := storePath(t)
	s.write(t, path, s.image, nil)
	b := openStore(t, path, &testkit.Log{})
	_, err := b.cur.Load().Update([]*boltfile.Change{{Key: "a", Value: []byte("b"), Wanted: func([]byte) bool {
		if err := os.Truncate(path, 0); err != nil {
			t.Error(err)
		}
		return true
	}}})
	if _, ok := boltfile.As[*boltfile.Damage](err); !ok || !strings.Contains(err.Error(), "fault") {
		t.Errorf("Update: %v", err)
	}
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Errorf("Put afterwards: %v", err)
	}
	if n := b.Stats().Heals; n != 1 {
		t.Errorf("%d heals", n)
	}
}

// TestPanicWhileBeginning: bbolt finds no valid meta page, which it answers with a panic that leaves its locks held.
// Who is in a transaction meanwhile gets out, also a writer whose commit needs a larger map, for which bbolt takes one
// of those locks.
func TestPanicWhileBeginning(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 1, noExtra)
	f := b.cur.Load()
	var inside error
	_, err := f.Update([]*boltfile.Change{{Key: "a", Value: make([]byte, 60_000), Wanted: func([]byte) bool {
		overwrite(t, path, make([]byte, 2*os.Getpagesize()))
		_, inside = f.Find("b")
		return true
	}}})
	for _, err := range []error{inside, err} {
		if _, ok := boltfile.As[*boltfile.Damage](err); !ok || !strings.Contains(err.Error(), "locks") &&
			!strings.Contains(err.Error(), "bbolt") {
			t.Errorf("%v", err)
		}
	}
	e, err := b.Get(t.Context(), storetest.Domain(0))
	if !errors.Is(err, resolver.ErrNotCached) {
		t.Errorf("Get: %+v %v", e, err)
	}
	if s := b.Stats(); s.Heals != 1 || s.Lost != 1 {
		t.Errorf("%+v", s)
	}
}

// TestDiskReadError: pages that the disk no longer gives are a damage, as an unreadable sector is: here they are not
// mapped any more.
func TestDiskReadError(t *testing.T) {
	s := newSpecimen(t)
	path, l := storePath(t), &testkit.Log{}
	s.write(t, path, s.image, s.snapshot)
	b := openStore(t, path, l)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if !strings.HasSuffix(strings.TrimSpace(line), " "+path) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		_, _, errno := syscall.Syscall(syscall.SYS_MPROTECT, from+uintptr(2*os.Getpagesize()),
			uintptr(len(s.image)-2*os.Getpagesize()), syscall.PROT_NONE)
		if errno != 0 {
			t.Fatal(errno)
		}
		lost++
	}
	if lost != 1 {
		t.Fatalf("the file is mapped %d times", lost)
	}
	if o := s.examine(t, path, b, l); o.kept != len(s.puts) || o.heals != 1 {
		t.Errorf("%+v", o)
	}
}

// TestDamageThatStays: what writing meets is the same in each new file. The Put says that nothing was written.
func TestDamageThatStays(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	fill(t, b, 5, noExtra)
	err := b.submit(t.Context(), &op{Change: boltfile.Change{Key: "a.example", Value: []byte("b"),
		Wanted: func([]byte) bool { panic("bbolt") }}})
	if _, ok := boltfile.As[*boltfile.Damage](err); !ok {
		t.Errorf("%v", err)
	}
	putFresh(t, b)
	if s := b.Stats(); s.Policies != 6 || s.WriteErrors != 1 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

// overwrite writes over the begin of a file.
func overwrite(t *testing.T, path string, image []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(image, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
}
