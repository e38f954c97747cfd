package lookups

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// interleavings are scripts for a stage. After the arrow of a step stands all that happens by it.
var interleavings = []struct{ why, script string }{
	{"one who asks gets what the run finds", `
		a asks question > run 1 for question
		finish          > a got 1`},
	{"after a run another begins", `
		a asks forced > run 1 for forced
		finish        > a got 1
		b asks forced > run 2 for forced
		finish        > b got 2`},
	{"no stronger reason joins", `
		a asks refresh   > run 1 for refresh
		b asks question  >
		c asks id_check  >
		d starts refresh >
		finish           > a got 1; b got 1 joined; c got 1 joined; d got 1 joined`},
	{"a stronger reason gets a run of its own behind", `
		a asks question > run 1 for question
		b asks forced   >
		finish          > a got 1; run 2 for forced
		finish          > b got 2`},
	{"all stronger ones share the one run behind, by the strongest of their reasons", `
		a asks question   > run 1 for question
		b asks id_check   >
		c starts forced   >
		d asks refresh    >
		finish            > a got 1; run 2 for forced
		finish            > b got 2; c got 2; d got 2`},
	{"a weaker reason joins what runs, though another run waits", `
		a asks id_check > run 1 for id_check
		b asks forced   >
		c asks question >
		finish          > a got 1; c got 1 joined; run 2 for forced
		d asks refresh  >
		finish          > b got 2; d got 2 joined`},
	{"stronger than the run that waited, once that has begun: one more", `
		a asks question > run 1 for question
		b asks id_check >
		finish          > a got 1; run 2 for id_check
		c asks refresh  >
		finish          > b got 2; run 3 for refresh
		finish          > c got 3`},
	{"who leaves leaves alone", `
		a asks refresh  > run 1 for refresh
		b asks question >
		a leaves        > a got left
		finish          > b got 1 joined`},
	{"when nobody waits any more the run goes on, and can be joined", `
		a asks refresh  > run 1 for refresh
		a leaves        > a got left
		b asks question >
		finish          > b got 1 joined`},
	{"when nobody waits to the end, nothing is missed", `
		a asks refresh > run 1 for refresh
		a leaves       > a got left
		finish         >`},
	{"a run that nobody wants any more does not begin", `
		a asks question > run 1 for question
		b asks forced   >
		c asks refresh  >
		b leaves        > b got left
		c leaves        > c got left
		finish          > a got 1`},
	{"the reason of who left does not count", `
		a asks question > run 1 for question
		b asks forced   >
		c asks id_check >
		b leaves        > b got left
		finish          > a got 1; run 2 for id_check
		finish          > c got 2`},
	{"nor does it while somebody else has the same one", `
		a asks question > run 1 for question
		b asks forced   >
		c asks forced   >
		b leaves        > b got left
		finish          > a got 1; run 2 for forced
		finish          > c got 2`},
	{"what was started begins though nobody waits", `
		a asks question  > run 1 for question
		b starts refresh >
		c asks forced    >
		c leaves         > c got left
		finish           > a got 1; run 2 for refresh
		finish           > b got 2`},
	{"a panic is what all who waited get, once logged, and the next run begins", `
		a asks id_check   > run 1 for id_check
		b starts question >
		c asks forced     >
		panic             > a got panic; b got panic; fault; run 2 for forced
		finish            > c got 2`},
	{"a Goexit is a panic", `
		a asks id_check > run 1 for id_check
		b asks question >
		c asks forced   >
		goexit          > a got panic; b got panic; fault; run 2 for forced
		finish          > c got 2`},
	{"another writer has the line at once when nothing runs", `
		x excludes > x has the line
		finish     > x got 0`},
	{"another writer waits for what runs, and nobody joins him", `
		a asks forced    > run 1 for forced
		x excludes       >
		finish           > a got 1; x has the line
		b asks question  >
		c asks refresh   >
		finish           > run 2 for refresh; x got 0
		d asks question  >
		finish           > b got 2; c got 2; d got 2 joined`},
	{"writers come one by one, in order, and a lookup keeps its place among them", `
		x excludes      > x has the line
		y excludes      >
		a asks question >
		z excludes      >
		b asks forced   >
		finish          > x got 0; y has the line
		finish          > run 1 for forced; y got 0
		finish          > a got 1; b got 1; z has the line
		finish          > z got 0`},
	{"what runs may be joined while a writer waits", `
		a asks refresh  > run 1 for refresh
		x excludes      >
		b asks question >
		finish          > a got 1; b got 1 joined; x has the line
		finish          > x got 0`},
	{"a writer who leaves before his turn does not write", `
		a asks question > run 1 for question
		x excludes      >
		y excludes      >
		x leaves        > x got left
		finish          > a got 1; y has the line
		finish          > y got 0`},
	{"a writer who has begun writes to the end", `
		x excludes > x has the line
		x leaves   >
		finish     > x got 0`},
	{"a writer's panic is his alone", `
		x excludes      > x has the line
		a asks question >
		y excludes      >
		panic           > fault; run 1 for question; x got panic
		finish          > a got 1; y has the line
		goexit          > fault; y got panic`},
	{"closed with nothing under way", `
		close           > closed
		a asks question > a got closed
		b starts forced > b got closed
		x excludes      > x got closed
		close           > closed`},
	{"closed: what runs is told to end and waited for, what waits never begins, nobody joins", `
		a asks question  > run 1 for question
		b asks id_check  >
		c starts forced  >
		x excludes       >
		close            > b got closed; c got closed; run 1 is told to end; x got closed
		d asks question  > d got closed
		y excludes       > y got closed
		finish           > a got 1; closed`},
	{"closed: a writer is waited for", `
		x excludes      > x has the line
		a asks question >
		close           > a got closed
		finish          > closed; x got 0`},
	{"closed: a panic is waited for too", `
		a asks question > run 1 for question
		close           > run 1 is told to end
		panic           > a got panic; closed; fault`},
}

// TestInterleavings plays each script, and wants nothing to remain at its end.
func TestInterleavings(t *testing.T) {
	for _, c := range interleavings {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				for line := range strings.Lines(strings.TrimSpace(c.script)) {
					step, want, _ := strings.Cut(line, ">")
					if got := strings.Join(s.do(step), "; "); got != strings.TrimSpace(want) {
						t.Fatalf("%s: %q, want %q", strings.TrimSpace(step), got, strings.TrimSpace(want))
					}
				}
				s.over()
			})
		})
	}
}

// TestKeysDoNotWaitForEachOther: a key's run holds up no other key.
func TestKeysDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := New(func(_ context.Context, key int, _ Reason) int {
			if key == 1 {
				<-release
			}
			return key
		}, func(int, *PanicError) { t.Error("panic") })
		slow := g.Start(1, Question)
		if r, err := g.Ask(t.Context(), 2, Question); r != (Result[int]{Value: 2}) || err != nil {
			t.Error(r, err)
		}
		if err := g.Exclusive(t.Context(), 3, func() {}); err != nil {
			t.Error(err)
		}
		close(release)
		if r, err := slow.Result(); r != (Result[int]{Value: 1}) || err != nil {
			t.Error(r, err)
		}
		g.Close()
	})
}

// TestEndedContext: a context that has ended begins nothing.
func TestEndedContext(t *testing.T) {
	g := New(func(context.Context, int, Reason) int { t.Error("a lookup began"); return 0 }, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	if _, err := g.Ask(ctx, 1, Forced); !errors.Is(err, errLeft) {
		t.Error(err)
	}
	if err := g.Exclusive(ctx, 1, func() { t.Error("it has written") }); !errors.Is(err, errLeft) {
		t.Error(err)
	}
	g.Close()
}

// TestExpiredMeanwhile shows what a caller does who joined a run and cannot use its value, because it had expired when
// the caller asked: he asks once more. The value that he gets then was looked up after his first question.
func TestExpiredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.do("a asks question")
		s.do("b asks question")
		if got := s.do("finish"); !slices.Equal(got, []string{"a got 1", "b got 1 joined"}) {
			t.Fatal(got)
		}
		s.do("c asks question") // is faster than b
		s.do("b asks question")
		if got := s.do("finish"); !slices.Equal(got, []string{"b got 2 joined", "c got 2"}) {
			t.Fatal(got)
		}
		s.over()
	})
}

func TestReasonString(t *testing.T) {
	want := []string{"question", "id_check", "refresh", "forced", "invalid"}
	for i, w := range want {
		if got := Reason(i).String(); got != w {
			t.Errorf("%d: %q, want %q", i, got, w)
		}
	}
}

// BenchmarkAsk is what a lookup costs beside what it looks up, with many keys at once. The mutex is one for all keys.
func BenchmarkAsk(b *testing.B) {
	g := New(func(_ context.Context, key int, _ Reason) int { return key }, nil)
	defer g.Close()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for key := 0; p.Next(); key++ {
			if _, err := g.Ask(b.Context(), key%1000, Question); err != nil {
				b.Error(err)
			}
		}
	})
}
