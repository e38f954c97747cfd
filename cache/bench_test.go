package cache

import (
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

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
	b.Run("Negative", func(b *testing.B) {
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
