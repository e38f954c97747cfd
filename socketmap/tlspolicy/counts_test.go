package tlspolicy

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
)

// fixedAnswer answers every question with the same verdict.
type fixedAnswer struct{ verdict resolver.Verdict }

func (a fixedAnswer) Answer(context.Context, resolver.Question) resolver.Verdict { return a.verdict }

func TestFeaturesSpelling(t *testing.T) {
	names := map[string]bool{}
	for i := range countMaps {
		f := featuresAt(i)
		back, err := ParseMapName(f.String())
		if err != nil || back != f || f.index() != i || names[f.String()] {
			t.Errorf("features %d: %v parses as %+v (index %d), %v", i, f, back, back.index(), err)
		}
		names[f.String()] = true
	}
}

// TestOutcomesFitTheCounts fails if there are more outcomes than countOutcomes.
func TestOutcomesFitTheCounts(t *testing.T) {
	if word := resolver.Outcome(countOutcomes).String(); word != "invalid" {
		t.Fatalf("outcome %q has no column", word)
	}
}

func TestCounts(t *testing.T) {
	h := NewHandler(fixedAnswer{resolver.Verdict{Outcome: resolver.Testing}}, slog.New(slog.DiscardHandler))
	ask := func(name, key string) {
		h.ServeSocketmap(context.Background(), socketmap.Request{Map: []byte(name), Key: []byte(key)})
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 100 {
				ask("sts+tlsrpt+dane", "example.com")
				ask("QUERYwithTLSRPT", "example.com")
				ask("sts", ".example.com")
				ask("sts+shadow", "example.com")
				ask("hostile\" name", "example.com")
			}
		})
	}
	all.Wait()
	got := map[[2]string]uint64{}
	for _, c := range h.Counts() {
		if c.N > 0 {
			got[[2]string{c.Map, c.Outcome}] = c.N
		}
	}
	want := map[[2]string]uint64{
		{"sts+dane+tlsrpt", "testing"}: 2000, {"sts", "no_domain"}: 1000, {"sts+shadow", "testing"}: 1000,
		{"unknown", "no_domain"}: 1000,
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%v: %d questions, want %d", k, got[k], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	h := NewHandler(fixedAnswer{resolver.Verdict{Outcome: resolver.Enforce, Policy: held(t, plainPolicy)}},
		slog.New(slog.DiscardHandler))
	f := Features{DANE: true, Shadow: true}
	if n := testing.AllocsPerRun(1000, func() { h.counts.add(f, resolver.Enforce) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCount(b *testing.B) {
	h := NewHandler(fixedAnswer{}, slog.New(slog.DiscardHandler))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.counts.add(Features{TLSRPT: true}, resolver.Enforce)
		}
	})
}

func BenchmarkHandler(b *testing.B) {
	h := NewHandler(fixedAnswer{resolver.Verdict{Outcome: resolver.Absent}}, slog.New(slog.DiscardHandler))
	r := socketmap.Request{Map: []byte("sts"), Key: []byte("example.com")}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeSocketmap(context.Background(), r)
	}
}
