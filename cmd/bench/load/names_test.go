package load

import (
	"testing"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		names Names
		i     int
		want  string
		why   string
	}{
		{Names{Zone: internet.Near}, 0, "23:sts n00000000.near.test,",
			"all names are of one length, so are all replies"},
		{Names{Zone: internet.Far, First: 9_999_999}, 1, "22:sts n10000000.far.test,", "without end"},
		{Names{Zone: internet.Kept, First: 5, Count: 10}, 12, "23:sts n00000007.kept.test,", "round and round"},
	} {
		if got := string(c.names.AppendQuestion(nil, c.i)); got != c.want {
			t.Errorf("%+v: question %d is %q, want %q: %s", c.names, c.i, got, c.want, c.why)
		}
	}
	shuffled := Names{Zone: internet.Near, Count: 1000, Shuffled: true}
	seen := map[string]bool{}
	for i := range 10_000 {
		seen[string(shuffled.AppendQuestion(nil, i))] = true
	}
	if len(seen) < 990 {
		t.Errorf("10,000 shuffled questions are for %d domains of 1000", len(seen))
	}
	buf := make([]byte, 0, 100)
	if got := testing.AllocsPerRun(100, func() { buf = shuffled.AppendQuestion(buf[:0], 7) }); got != 0 {
		t.Errorf("%v allocations for a question: they would disturb what is measured", got)
	}
}
