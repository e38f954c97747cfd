package store

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// inSnapshot returns the records of a snapshot.
func inSnapshot(b *Store) map[string][]byte {
	found := map[string][]byte{}
	for key, value := range readSnapshot(b.snapshot) {
		found[key] = value
	}
	return found
}

// TestSnapshotEachHour: a snapshot is written when an hour has gone by since the last one and a policy has changed;
// that it was used, or checked, is no change.
func TestSnapshotEachHour(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, b)
		put := func(e entry) {
			t.Helper()
			if err := b.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		e, other := storetest.Entry(1, storetest.Clock()), storetest.Entry(2, storetest.Clock())
		want := func(why string, after time.Duration, written uint64, has int) {
			t.Helper()
			<-time.After(after)
			synctest.Wait()
			if s := b.Stats(); s.Snapshots != written || len(inSnapshot(b)) != has || s.SnapshotErrors > 0 {
				t.Errorf("%s: %+v, %d in the snapshot", why, s, len(inSnapshot(b)))
			}
		}
		want("nothing to write", 2*time.Hour, 0, 0)
		put(e)
		want("the first policy", 2*time.Minute, 1, 1)
		put(other)
		want("another, within the hour", 50*time.Minute, 1, 1)
		want("when the hour is over", 12*time.Minute, 2, 2)
		e.Used, e.Checked = e.Used.Add(time.Hour), e.Checked.Add(time.Hour)
		put(e)
		want("only used", 3*time.Hour, 2, 2)
		e.Fetched = e.Fetched.Add(time.Hour)
		put(e)
		want("fetched again", 2*time.Minute, 3, 2)
		if err := b.Delete(t.Context(), other.Domain); err != nil {
			t.Fatal(err)
		}
		want("deleted", 2*time.Hour, 4, 1)
	})
}

// TestSnapshotAtTheStop: a clean stop writes what has changed; the file is for its owner alone.
func TestSnapshotAtTheStop(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	put := fill(t, b, 700, func(i int) int { return mixedSizes(i % 300) })
	closeStore(t, b)
	for key, value := range inSnapshot(b) {
		if e, err := record.Decode(key, value); err != nil || !storetest.Equal(put[key], e) {
			t.Errorf("%s: %+v %v", key, e, err)
		}
		delete(put, key)
	}
	if len(put) > 0 {
		t.Errorf("%d policies are not in the snapshot", len(put))
	}
	info, err := os.Stat(b.snapshot)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	b = openStore(t, path, &testkit.Log{})
	closeStore(t, b)
	if again, err := os.Stat(b.snapshot); err != nil || !os.SameFile(info, again) || b.Stats().Snapshots != 0 {
		t.Errorf("nothing changed, and there is another snapshot: %v", err)
	}
}

// TestSnapshotIsNotReplacedByLess: what the store has lost, or has damaged, does not go from the snapshot.
func TestSnapshotIsNotReplacedByLess(t *testing.T) {
	s := newSpecimen(t)
	for _, d := range s.spoilings() {
		t.Run(d.why, func(t *testing.T) {
			path, l := storePath(t), &testkit.Log{}
			s.write(t, path, s.image, s.snapshot)
			b := openStore(t, path, l)
			putFresh(t, b)
			write(t, path, d.do(bytes.Clone(s.image)))
			closeStore(t, b) // with a snapshot, or without one
			found := inSnapshot(b)
			for domain := range s.puts {
				if found[domain.String()] == nil {
					t.Fatalf("%s is gone from the snapshot; log %q", domain, l.Lines())
				}
			}
			b = openStore(t, path, l)
			for domain := range s.puts {
				if _, err := b.Get(t.Context(), domain); err != nil {
					t.Errorf("%s: %v", domain, err)
				}
			}
		})
	}
}

// TestSnapshotFails: a snapshot that cannot be written is told once, and leaves the one before.
func TestSnapshotFails(t *testing.T) {
	path, l := storePath(t), &testkit.Log{}
	b := openStore(t, path, l)
	fill(t, b, 3, noExtra)
	b.snapshots.write(time.Now())
	if err := os.Mkdir(b.snapshot+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	putFresh(t, b)
	for range 2 {
		b.snapshots.write(time.Now())
	}
	if lines := l.Lines("event=snapshot_failed"); len(lines) != 1 || len(l.Lines()) != 1 ||
		!strings.Contains(lines[0], b.snapshot) {
		t.Errorf("log: %q", l.Lines())
	}
	if s := b.Stats(); s.Snapshots != 1 || s.SnapshotErrors != 2 || len(inSnapshot(b)) != 3 {
		t.Errorf("%+v, %d in the snapshot", s, len(inSnapshot(b)))
	}
	if err := os.Remove(b.snapshot + ".new"); err != nil {
		t.Fatal(err)
	}
	b.snapshots.write(time.Now())
	if len(inSnapshot(b)) != 4 {
		t.Errorf("%d in the snapshot", len(inSnapshot(b)))
	}
}
