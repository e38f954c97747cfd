package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// millionStore makes a store of n policies and returns its path.
func millionStore(b *testing.B, n int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "policies.db")
	store := &Bolt{path: path}
	h, err := store.install(func(l *loader) error {
		for i := range n {
			record, err := encode(storetest.Entry(i, storetest.Clock()))
			if err != nil {
				return err
			}
			if err := l.add(storetest.Domain(i).String(), record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := h.close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func mustOpen(b *testing.B, path string) *Bolt {
	b.Helper()
	store, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return store
}

func BenchmarkBoltOpen(b *testing.B) {
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

// BenchmarkBoltOpenUsed opens a store of a million policies of which many were written again one by one.
func BenchmarkBoltOpenUsed(b *testing.B) {
	path := millionStore(b, 1_000_000)
	store := mustOpen(b, path)
	for i := range 3000 {
		if err := store.Put(b.Context(), storetest.Entry(i*331%1_000_000, storetest.Clock().Add(time.Hour))); err != nil {
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

// BenchmarkBoltVet compares the free list of a store of a million policies with the pages in use, as the first commit does.
func BenchmarkBoltVet(b *testing.B) {
	f, err := os.Open(millionStore(b, 1_000_000))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m, err := readMeta(f)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := vet(f, m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBoltHeal salvages a million policies.
func BenchmarkBoltHeal(b *testing.B) {
	path := millionStore(b, 1_000_000)
	for b.Loop() {
		image, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			b.Fatal(err)
		}
		m, err := readMeta(image)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := image.WriteAt(make([]byte, m.pageSize), int64(m.freelist)*int64(m.pageSize)); err != nil {
			b.Fatal(err)
		}
		image.Close()
		store := mustOpen(b, path)
		if s := store.Stats(); s.Heals != 1 || s.Salvaged != 1_000_000 || s.Lost != 0 {
			b.Fatalf("%+v", s)
		}
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBoltGet(b *testing.B) {
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

// BenchmarkBoltGetAbsent is what each question costs here that is about a domain never seen before.
func BenchmarkBoltGetAbsent(b *testing.B) {
	store := mustOpen(b, millionStore(b, 100_000))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := store.Get(b.Context(), million(i*7919%1_000_000)); !errors.Is(err, resolver.ErrNotCached) {
			b.Fatal(err)
		}
		i++
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkBoltAll(b *testing.B) {
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

// BenchmarkBoltPut shows what one Put costs alone, and among others.
func BenchmarkBoltPut(b *testing.B) {
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

func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	now := storetest.Clock()
	names := make([]dnsname.Name, n)
	for i := range names {
		names[i] = million(i)
	}
	m := NewMemory(MemoryOptions{MaxNegative: n})
	for _, name := range names {
		m.PutNegative(now, name, until(now.Add(time.Hour)))
	}
	b.Run("Absence", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				m.Negative(names[i*7919%n])
			}
		})
	})
	b.Run("PutKnown", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				m.PutNegative(now, names[i*7919%n], until(now.Add(time.Hour)))
			}
		})
	})
	b.Run("PutAtTheBound", func(b *testing.B) {
		full := NewMemory(MemoryOptions{MaxNegative: n / 10})
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				full.PutNegative(now, names[i*7919%n], until(now.Add(time.Hour)))
			}
		})
	})
}
