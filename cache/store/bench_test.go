package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// millionStore makes a store of n policies and returns its path.
func millionStore(b *testing.B, n int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "policies.db")
	if err := mustOpen(b, path).Close(); err != nil {
		b.Fatal(err)
	}
	edit(b, path, func(tx *bbolt.Tx) error {
		policies := tx.Bucket([]byte(bucketPolicies))
		policies.FillPercent = 0.8
		err := tx.Bucket([]byte(bucketMeta)).Put([]byte(keyCount), record.EncodeNumber(keyCount, uint64(n)))
		for i := range n {
			err = errors.Join(err, putRecord(policies, storetest.Entry(i, storetest.Clock())))
		}
		return err
	})
	return path
}

func mustOpen(b *testing.B, path string) *Store {
	b.Helper()
	store, err := Open(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	return store
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := millionStore(b, n)
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				store := mustOpen(b, path)
				if store.Len() != n {
					b.Fatalf("%d policies", store.Len())
				}
				if err := store.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(info.Size())/float64(n), "bytes/policy")
		})
	}
}

// BenchmarkOpenUsed opens a store of a million policies of which many were written again one by one.
func BenchmarkOpenUsed(b *testing.B) {
	path := millionStore(b, 1_000_000)
	store := mustOpen(b, path)
	for i := range 3000 {
		if err := store.Put(b.Context(),
			storetest.Entry(i*331%1_000_000, storetest.Clock().Add(time.Hour))); err != nil {
			b.Fatal(err)
		}
	}
	for {
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		if !b.Loop() {
			return
		}
		store = mustOpen(b, path)
	}
}

// BenchmarkRecover recovers a million policies, of the file or of the snapshot alone.
func BenchmarkRecover(b *testing.B) {
	for _, size := range []string{".", ".."} { // of the marker
		b.Run(map[string]string{".": "file", "..": "snapshot"}[size], func(b *testing.B) {
			path := millionStore(b, 1_000_000)
			s := mustOpen(b, path)
			s.counts.note(func(n *Stats) { n.changed++ })
			s.snapshots.write(time.Now())
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				write(b, path+marker, []byte(size))
				s := mustOpen(b, path)
				if n := s.Stats(); n.Heals != 1 || n.Salvaged != 1_000_000 || n.Lost != 0 {
					b.Fatalf("%+v", n)
				}
				s.snapshots.saved = s.Stats().changed // none at the end
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSnapshot writes one of a million policies.
func BenchmarkSnapshot(b *testing.B) {
	s := mustOpen(b, millionStore(b, 1_000_000))
	for b.Loop() {
		s.counts.note(func(n *Stats) { n.changed++ })
		s.snapshots.write(time.Now())
	}
	if n := s.Stats(); n.SnapshotErrors > 0 {
		b.Errorf("%+v", n)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkGet(b *testing.B) {
	store := mustOpen(b, millionStore(b, 1_000_000))
	i := 0
	for b.Loop() {
		if _, err := store.Get(b.Context(), storetest.Domain(i*7919%1_000_000)); err != nil {
			b.Fatal(err)
		}
		i++
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGetAbsent is what each question costs here that is about a domain never seen before.
func BenchmarkGetAbsent(b *testing.B) {
	store := mustOpen(b, millionStore(b, 100_000))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := store.Get(b.Context(), storetest.Domain(1_000_000+i*7919%1_000_000)); !errors.Is(err,
			resolver.ErrNotCached) {
			b.Fatal(err)
		}
		i++
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAll(b *testing.B) {
	store := mustOpen(b, millionStore(b, 100_000))
	for b.Loop() {
		n := 0
		for _, err := range store.All(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100_000 {
			b.Fatal(n)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPut shows what one Put costs alone, and among others.
func BenchmarkPut(b *testing.B) {
	for _, together := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(together), func(b *testing.B) {
			store := mustOpen(b, filepath.Join(b.TempDir(), "policies.db"))
			var next atomic.Int64
			b.SetParallelism(together)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := store.Put(b.Context(), storetest.Entry(int(next.Add(1)), storetest.Clock())); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(store.Stats().Puts)/float64(store.Stats().Commits), "puts/commit")
			if err := store.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
