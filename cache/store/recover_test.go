package store

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestSetAside: files damaged soon after each other do not overwrite each other, and the newest two are kept.
func TestSetAside(t *testing.T) {
	path := storePath(t)
	for _, text := range []string{"garbage 1", "garbage 2", "garbage 3"} {
		write(t, path, []byte(text))
		b, err := Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, b)
	}
	aside, _ := filepath.Glob(path + ".corrupt-*")
	if len(aside) != 2 {
		t.Fatalf("set aside: %q", aside)
	}
	for i, want := range []string{"garbage 2", "garbage 3"} {
		if got, err := os.ReadFile(aside[i]); err != nil || string(got) != want {
			t.Errorf("%q: %q %v", aside[i], got, err)
		}
	}
}

// spoilRecords damages the records of the first three domains, on sound pages.
func spoilRecords(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(tx *bbolt.Tx) error {
		policies := tx.Bucket([]byte(bucketPolicies))
		for i := range 3 {
			key := []byte(storetest.Domain(i).String())
			b := bytes.Clone(policies.Get(key))
			b[len(b)/2] ^= 4
			if err := policies.Put(key, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestDamagedRecord: some records are damaged, the pages are sound. Without a snapshot they count as absent; with one,
// its records take their place, in doubt.
func TestDamagedRecord(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(map[bool]string{false: "no snapshot", true: "a snapshot"}[snapshot], func(t *testing.T) {
			path := storePath(t)
			b := openStore(t, path, &testkit.Log{})
			fill(t, b, 10, noExtra)
			closeStore(t, b)
			if !snapshot {
				if err := os.Remove(b.snapshot); err != nil {
					t.Fatal(err)
				}
			}
			spoilRecords(t, path)
			l := &testkit.Log{}
			b = openStore(t, path, l)
			for range 2 {
				e, err := b.Get(t.Context(), storetest.Domain(0))
				if snapshot && (err != nil || !e.Doubtful()) || !snapshot && !errors.Is(err, resolver.ErrNotCached) {
					t.Errorf("Get: %+v %v", e, err)
				}
			}
			lines := l.Lines("event=store_record_dropped")
			if len(l.Lines()) != len(lines) || len(lines) == 0 ||
				!strings.Contains(strings.Join(lines, " "), "domain=d000000.example") ||
				!strings.Contains(lines[0], "level=WARN") {
				t.Errorf("log: %q", l.Lines())
			}
			for range b.All(t.Context()) { // mends what is left
			}
			want := map[bool]int{false: 7, true: 10}[snapshot]
			if s := b.Stats(); s.CorruptRecords != 3 || int(s.Policies) != want || s.Heals != 0 {
				t.Errorf("%+v", s)
			}
			n := 0
			for _, err := range b.All(t.Context()) {
				if n++; err != nil {
					t.Error(err)
				}
			}
			if n != want {
				t.Errorf("All yields %d, want %d", n, want)
			}
			if err := b.Put(t.Context(), storetest.Entry(0, storetest.Clock())); err != nil {
				t.Error(err)
			}
			if e, err := b.Get(t.Context(), storetest.Domain(0)); err != nil ||
				!storetest.Equal(storetest.Entry(0, storetest.Clock()), e) {
				t.Errorf("put again: %+v %v", e, err)
			}
		})
	}
}

// TestDamagedKey: a record whose key is damaged is not found under either, and is in the snapshot: asking for it, or a
// walk, brings it back.
func TestDamagedKey(t *testing.T) {
	for _, asked := range []bool{true, false} {
		path, l := storePath(t), &testkit.Log{}
		b := openStore(t, path, &testkit.Log{})
		fill(t, b, 10, noExtra)
		closeStore(t, b)
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, bytes.ReplaceAll(image, []byte("d000005.example"), []byte("d00000U.example")))
		b = openStore(t, path, l)
		if !asked {
			for range b.All(t.Context()) {
			}
		}
		if e, err := b.Get(t.Context(), storetest.Domain(5)); err != nil || !e.Doubtful() {
			t.Errorf("%+v %v, log %q", e, err, l.Lines())
		}
		if n := b.Len(); n != 10 {
			t.Errorf("Len() = %d", n)
		}
	}
}

// TestMissingRecords: a part of the tree is out of reach, on sound pages. A walk finds it out.
func TestMissingRecords(t *testing.T) {
	path, l := storePath(t), &testkit.Log{}
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 100, noExtra)
	closeStore(t, b)
	edit(t, path, func(tx *bbolt.Tx) error {
		var err error
		for i := range 30 { // behind the back of the count
			err = errors.Join(err, tx.Bucket([]byte(bucketPolicies)).Delete([]byte(storetest.Domain(40+i).String())))
		}
		return err
	})
	b = openStore(t, path, l)
	for _, err := range b.All(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
	if lines := l.Lines("event=store_corrupt"); len(lines) != 1 ||
		!strings.Contains(lines[0], "30 records are not found") {
		t.Errorf("log: %q", l.Lines())
	}
	for i := range 100 {
		if _, err := b.Get(t.Context(), storetest.Domain(i)); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	for range b.All(t.Context()) {
	}
	if len(l.Lines()) != 1 {
		t.Errorf("log: %q", l.Lines())
	}
}

// TestNewerRecord: a record of a newer stsmapd stays until this one has something to say about the domain, and outlives
// a recovery, out of the file as out of the snapshot.
func TestNewerRecord(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 3, noExtra)
	closeStore(t, b)
	key := storetest.Domain(1).String()
	newer := []byte{0xB5, 4, 0, 0, 0, 0, 'w', 'h', 'a', 't'}
	record.Seal(key, newer)
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketPolicies)).Put([]byte(key), newer) })
	b = openStore(t, path, &testkit.Log{})
	if err := b.Put(t.Context(), storetest.Entry(2, storetest.Clock().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	closeStore(t, b) // it is in the snapshot
	write(t, path, []byte("garbage"))

	l := &testkit.Log{}
	b = openStore(t, path, l)
	if s := b.Stats(); s.Heals != 1 || s.Salvaged != 3 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := b.Get(t.Context(), storetest.Domain(1)); !errors.Is(err, resolver.ErrNotCached) ||
		!errors.Is(err, record.ErrVersion) {
		t.Errorf("Get: %v", err)
	}
	versions := 0
	for e, err := range b.All(t.Context()) {
		if errors.Is(err, record.ErrVersion) && e.Domain == storetest.Domain(1) {
			versions++
		} else if err != nil {
			t.Error(err)
		}
	}
	if versions != 1 || b.Len() != 3 || len(l.Lines("event=store_record_dropped")) != 0 {
		t.Errorf("All yields %d, %d are left, log %q", versions, b.Len(), l.Lines())
	}
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(t.Context(), storetest.Domain(1)); err != nil || b.Len() != 3 {
		t.Errorf("put over it: %v, %d", err, b.Len())
	}
}

// TestRecoveryCutShort: a process that ended at any point of a recovery, or of an opening, leaves a store that opens,
// with all that the file or the snapshot has.
func TestRecoveryCutShort(t *testing.T) {
	s := newSpecimen(t)
	half := bytes.Clone(s.image[:len(s.image)/2])
	for _, c := range []struct {
		why                  string
		store, next, snaphot []byte // nil: no such file
		marker               string
		kept                 int
		event                string
	}{
		{"before the new file was complete", s.image, half, s.snapshot, "", len(s.puts), ""},
		{"the first start was cut short", nil, half, nil, "", 0, ""},
		{"the first start was cut shorter", nil, []byte{}, nil, "", 0, ""},
		{"the file is gone, the snapshot is there", nil, nil, s.snapshot, "", len(s.puts), "store_restored"},
		{"while bbolt opened the file", s.image, nil, nil, ".", len(s.puts), "store_corrupt"},
		{"while bbolt opened the file, before the marker was written", s.image, nil, nil, "-", len(s.puts),
			"store_corrupt"},
		{"while bbolt read a damaged file: it is not read again", s.image, half, s.snapshot, "..", len(s.puts),
			"store_corrupt"},
		{"the same, without a snapshot", s.image, half, nil, "..", 0, "store_corrupt"},
	} {
		t.Run(c.why, func(t *testing.T) {
			path, l := storePath(t), &testkit.Log{}
			for name, image := range map[string][]byte{
				path: c.store, path + ".new": c.next, path[:len(path)-3] + ".snapshot": c.snaphot} {
				if image != nil {
					write(t, name, image)
				}
			}
			if c.marker != "" {
				write(t, path+marker, []byte(strings.Trim(c.marker, "-")))
			}
			b := openStore(t, path, l)
			if b.Len() != c.kept+min(c.kept, 1) || len(l.Lines()) != min(1, len(c.event)) ||
				len(l.Lines("event="+c.event)) != len(l.Lines()) {
				t.Errorf("%d entries, log %q", b.Len(), l.Lines())
			}
			for _, name := range []string{path + ".new", path + marker} {
				if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is still there: %v", name, err)
				}
			}
			s.again(t, path, b, l, putFresh(t, b))
		})
	}
}

// TestLaterFetchWins: of the records that the damaged file and the snapshot have of a domain the one that was fetched
// later is put back.
func TestLaterFetchWins(t *testing.T) {
	early, late := storetest.Entry(1, storetest.Clock()), storetest.Entry(1, storetest.Clock().Add(time.Hour))
	late.ID = "late"
	image := func(e entry) (file, snapshot []byte) {
		path := storePath(t)
		b := openStore(t, path, &testkit.Log{})
		if err := b.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		closeStore(t, b)
		file, err1 := os.ReadFile(path)
		snapshot, err2 := os.ReadFile(b.snapshot)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return file, snapshot
	}
	earlyFile, earlySnapshot := image(early)
	lateFile, lateSnapshot := image(late)
	for why, c := range map[string][2][]byte{
		"the snapshot is older": {lateFile, earlySnapshot},
		"the file is older":     {earlyFile, lateSnapshot}, // bbolt read an older state of it
	} {
		path := storePath(t)
		specimen{}.write(t, path, c[0], c[1])
		write(t, path+marker, []byte("."))
		b := openStore(t, path, &testkit.Log{})
		if e, err := b.Get(t.Context(), late.Domain); err != nil || e.ID != "late" || !e.Doubtful() || b.Len() != 1 {
			t.Errorf("%s: %+v %v, Len() = %d", why, e, err, b.Len())
		}
	}
}

// TestTakesOverASchema1Store opens a file that the first stsmapd with a schema 1 wrote: 40 policies, of which some were
// deleted.
func TestTakesOverASchema1Store(t *testing.T) {
	f, err := os.Open("testdata/schema1.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	image, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	path, l := storePath(t), &testkit.Log{}
	write(t, path, image)
	b := openStore(t, path, l)
	for i := range 40 {
		want := storetest.Entry(i, storetest.Clock())
		want.Policy = storetest.Policy(i % 7 * 100)
		e, err := b.Get(t.Context(), want.Domain)
		if i%8 == 0 && !errors.Is(err, resolver.ErrNotCached) || i%8 != 0 && (err != nil || !storetest.Equal(want, e)) {
			t.Errorf("%d: %+v %v", i, e, err)
		}
	}
	if b.Len() != 35 || len(l.Lines()) > 0 {
		t.Errorf("Len() = %d, log %q", b.Len(), l.Lines())
	}
	specimen{}.again(t, path, b, l, putFresh(t, b))
}
