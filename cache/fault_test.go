package cache

import (
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// TestFaultInsideBolt: the file is cut under bbolt's map, and bbolt is let onto it without the checks that come first. The fault is
// an error, and the handle can still be closed.
func TestFaultInsideBolt(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // as the writer has it
	s := newSpecimen(t)
	path := storePath(t)
	s.write(t, path, s.image)
	b := openBolt(t, path, &logged{})
	h := b.cur.Load()
	tx, err := h.beginUnchecked(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	err = commit(tx, []change{{key: storetest.Domain(1).String()}}, 0)
	if d := (*damage)(nil); !errors.As(err, &d) || !strings.Contains(err.Error(), "fault") {
		t.Errorf("commit: %v", err)
	}
	h.end(tx)
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Errorf("Put afterwards: %v", err)
	}
	if n := b.Stats().Heals; n != 1 {
		t.Errorf("%d heals", n)
	}
}

// TestJammedHandle: bbolt panicked with its locks held. The store leaves it behind and goes on.
func TestJammedHandle(t *testing.T) {
	l := &logged{}
	b := openBolt(t, storePath(t), l)
	put := fill(t, b, 20, noExtra)
	h := b.cur.Load()
	tx, err := h.db.Begin(true) // whoever writes or closes now waits for ever
	if err != nil {
		t.Fatal(err)
	}
	h.jammed.Store(true)
	if err := b.submit(t.Context(), &op{kind: opHeal, broken: h, cause: &damage{"a panic"}}); err != nil {
		t.Fatal(err)
	}
	for _, e := range put {
		if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
			t.Errorf("%+v %v", got, err)
		}
	}
	if err := b.Put(t.Context(), storetest.Entry(100, storetest.Clock())); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Heals != 1 || s.Salvaged != 20 || s.Lost != 0 || len(l.with("event=store_corrupt")) != 1 {
		t.Errorf("%+v, log %q", s, l.lines)
	}
	// Another reader that met the same damage comes late, and nothing is healed twice.
	if err := b.submit(t.Context(), &op{kind: opHeal, broken: h, cause: &damage{"a panic"}}); err != nil || b.Stats().Heals != 1 {
		t.Errorf("%v, %+v", err, b.Stats())
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	_ = h.db.Close() // its file is closed already; this gives the map back
}

// TestPanicWhileBeginning: bbolt finds no valid meta, which it answers with a panic.
func TestPanicWhileBeginning(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	fill(t, b, 1, noExtra)
	h := b.cur.Load()
	good := make([]byte, 2*h.pageSize)
	if _, err := h.file.ReadAt(good, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := h.file.WriteAt(make([]byte, 2*h.pageSize), 0); err != nil {
		t.Fatal(err)
	}
	_, err := h.beginUnchecked(false)
	if d := (*damage)(nil); !errors.As(err, &d) || !h.jammed.Load() {
		t.Errorf("%v, jammed %v", err, h.jammed.Load())
	}
	e, err := b.Get(t.Context(), storetest.Domain(0))
	if err != nil && !errors.Is(err, resolver.ErrNotCached) {
		t.Errorf("Get: %+v %v", e, err)
	}
	if s := b.Stats(); s.Heals != 1 || s.Salvaged != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFailedCommitBeginsAnew: after a commit that failed, nothing that bbolt kept in memory is used any more.
func TestFailedCommitBeginsAnew(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	put := fill(t, b, 20, noExtra)
	b.cur.Load().db.MaxSize = 1 // bbolt now refuses to grow; a new handle has no such limit
	large := storetest.Entry(100, storetest.Clock())
	large.Policy = storetest.Policy(60_000)
	err := b.Put(t.Context(), large)
	if io := (*IOError)(nil); !errors.As(err, &io) {
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
