package cache

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// BenchmarkBounded compares looks at policies in a Bounded with looks at the same in the shards of Memory, in turns
// and by this thread's CPU time, so that what else the machine does bears on both. ratio is Bounded's time to the
// other's, the median.
func BenchmarkBounded(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			names, bounded, memory := sameContents(n)
			n := len(names)
			at := 0
			look := func(get func(dnsname.Name) (*resolver.CachedPolicy, bool)) time.Duration {
				begin := threadTime(b)
				for range 1000 {
					if h, ok := get(names[at%n]); !ok || h == nil {
						b.Fatal("not there")
					}
					at += 7919
				}
				return threadTime(b) - begin
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			var ratios []float64
			var one, other time.Duration
			for b.Loop() {
				x := look(bounded.Get)
				y := look(memory.Policy)
				one, other = one+x, other+y
				ratios = append(ratios, float64(x)/float64(y))
			}
			slices.Sort(ratios)
			b.ReportMetric(float64(one)/float64(b.N)/1000, "ns/bounded")
			b.ReportMetric(float64(other)/float64(b.N)/1000, "ns/memory")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}

func sameContents(n int) ([]dnsname.Name, *Bounded[dnsname.Name, *resolver.CachedPolicy], *Memory) {
	names := make([]dnsname.Name, n)
	bounded := NewBounded[dnsname.Name](Bounds{Count: n}, Rank[*resolver.CachedPolicy]{})
	memory := NewMemory(MemoryOptions{MaxPolicies: n})
	for i := range names {
		names[i] = million(i)
		h := &resolver.CachedPolicy{Entry: resolver.Entry{Domain: names[i]}}
		bounded.Put(names[i], h)
		memory.PutPolicy(h)
	}
	return slices.DeleteFunc(names, func(name dnsname.Name) bool { // by chance a shard of Memory had no room for some
		_, ok := memory.Policy(name)
		return !ok
	}), bounded, memory
}

func threadTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// BenchmarkBoundedHeap is what a policy costs in the heap beside itself.
func BenchmarkBoundedHeap(b *testing.B) {
	const n = 1_000_000
	held := make([]*resolver.CachedPolicy, n)
	for i := range held {
		held[i] = &resolver.CachedPolicy{Entry: resolver.Entry{Domain: million(i)}}
	}
	for b.Loop() {
		before := heap()
		bounded := NewBounded[dnsname.Name](Bounds{Count: n}, Rank[*resolver.CachedPolicy]{})
		for _, h := range held {
			bounded.Put(h.Entry.Domain, h)
		}
		between := heap()
		shards := NewMemory(MemoryOptions{MaxPolicies: n})
		for _, h := range held {
			shards.policyShard(h.Entry.Domain).put(h)
		}
		after := heap()
		b.ReportMetric(float64(between-before)/n, "B/bounded")
		b.ReportMetric(float64(after-between)/n, "B/memory")
		runtime.KeepAlive(bounded)
		runtime.KeepAlive(shards)
	}
}
