package store

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestFaultInsideBolt: the file is cut under bbolt's map while bbolt writes. The fault is an error, and the handle can
// still be closed.
func TestFaultInsideBolt(t *testing.T) {
	s := newSpecimen(t)
	path := storePath(t)
	s.write(t, path, s.image, nil)
	b := openStore(t, path, &testkit.Log{})
	err := b.cur.Load().transact(true, func(tx *bbolt.Tx) error {
		if err := os.Truncate(path, 0); err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketPolicies)).Put([]byte("a"), []byte("b"))
	})
	if _, ok := as[*damage](err); !ok || !strings.Contains(err.Error(), "fault") {
		t.Errorf("transact: %v", err)
	}
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Errorf("Put afterwards: %v", err)
	}
	if n := b.Stats().Heals; n != 1 {
		t.Errorf("%d heals", n)
	}
}

// TestStuckHandle: bbolt panicked with its locks held. The store leaves it behind and goes on.
func TestStuckHandle(t *testing.T) {
	l := &testkit.Log{}
	b := openStore(t, storePath(t), l)
	put := fill(t, b, 20, noExtra)
	h := b.cur.Load()
	tx, err := h.db.Begin(true) // who writes or closes now waits for ever
	if err != nil {
		t.Fatal(err)
	}
	h.sticks()
	h.distrust(&damage{"a panic"})
	if err := b.submit(t.Context(), &op{}); err != nil {
		t.Fatal(err)
	}
	for _, e := range put {
		got, err := b.Get(t.Context(), e.Domain)
		if !got.Doubtful() {
			t.Errorf("%s is not in doubt", e.Domain)
		}
		got.Checked = e.Checked
		if err != nil || !storetest.Equal(e, got) {
			t.Errorf("%+v %v", got, err)
		}
	}
	if err := b.Put(t.Context(), storetest.Entry(100, storetest.Clock())); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Heals != 1 || s.Salvaged != 20 || s.Lost != 0 || len(l.Lines("event=store_corrupt")) != 1 {
		t.Errorf("%+v, log %q", s, l.Lines())
	}
	// Another reader that met the same damage comes late, and nothing is recovered twice.
	h.distrust(&damage{"another panic"})
	if err := b.submit(t.Context(), &op{}); err != nil ||
		b.Stats().Heals != 1 {
		t.Errorf("%v, %+v", err, b.Stats())
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	_ = h.db.Close() // its file is closed already; this gives the map back
}

// TestPanicWhileBeginning: bbolt finds no valid meta page, which it answers with a panic that leaves its locks held.
// Who is in a transaction meanwhile gets out, also a writer whose commit needs a larger map, for which bbolt takes one
// of those locks.
func TestPanicWhileBeginning(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	fill(t, b, 1, noExtra)
	h := b.cur.Load()
	var inside error
	err := h.transact(true, func(tx *bbolt.Tx) error {
		if _, err := h.file.WriteAt(make([]byte, 2*os.Getpagesize()), 0); err != nil {
			return err
		}
		inside = h.transact(false, func(*bbolt.Tx) error { return nil })
		return tx.Bucket([]byte(bucketPolicies)).Put([]byte("a"), make([]byte, 60_000))
	})
	for _, err := range []error{inside, err} {
		if _, ok := as[*damage](err); !ok {
			t.Errorf("%v", err)
		}
	}
	select {
	case <-h.stuck:
	default:
		t.Error("bbolt's locks are not taken to be locked for ever")
	}
	e, err := b.Get(t.Context(), storetest.Domain(0))
	if !errors.Is(err, resolver.ErrNotCached) {
		t.Errorf("Get: %+v %v", e, err)
	}
	if s := b.Stats(); s.Heals != 1 || s.Lost != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFailedCommit: after a commit that failed, nothing that bbolt kept in memory is used any more.
func TestFailedCommit(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	put := fill(t, b, 20, noExtra)
	b.cur.Load().db.MaxSize = 1 // bbolt now refuses to grow; a new handle has no such limit
	large := storetest.Entry(100, storetest.Clock())
	large.Policy = storetest.Policy(60_000)
	err := b.Put(t.Context(), large)
	if err == nil || !strings.Contains(err.Error(), ": put: ") {
		t.Fatalf("Put: %v", err)
	}
	if err := b.Put(t.Context(), large); err != nil {
		t.Errorf("Put again: %v", err)
	}
	put[large.Domain.String()] = large
	for _, e := range put {
		if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
			t.Errorf("%+v %v", got, err)
		}
	}
	if s := b.Stats(); s.CommitErrors != 1 || s.WriteErrors != 1 || s.Heals != 0 || s.Policies != 21 {
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
	h := b.cur.Load()
	err := h.transact(false, func(*bbolt.Tx) error {
		_, _, errno := syscall.Syscall(syscall.SYS_MPROTECT, h.db.Info().Data+uintptr(2*os.Getpagesize()),
			uintptr(len(s.image)-2*os.Getpagesize()), syscall.PROT_NONE)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if o := s.examine(t, path, b, l); o.kept != len(s.puts) || o.heals != 1 {
		t.Errorf("%+v", o)
	}
}

// TestDamageThatStays: what writing meets is the same in each new file. The Put says that nothing was written.
func TestDamageThatStays(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	fill(t, b, 5, noExtra)
	err := b.submit(t.Context(), &op{key: "a.example", value: []byte("b"),
		change: func([]byte, *Stats) bool { panic("bbolt") }})
	if _, ok := as[*damage](err); !ok {
		t.Errorf("%v", err)
	}
	putFresh(t, b)
	if s := b.Stats(); s.Policies != 6 || s.WriteErrors != 1 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}
