package torture

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// fault is a fault of the machine, the network or the clients.
type fault struct {
	name string
	more string // lines of the configuration
	run  func(*testing.T, *rig)
	// closed is how many connections may be closed without an answer: none, unless the fault ends the daemon.
	closed int
	// patience is how long the answer for a remembered policy may take on a machine that does nothing else; 0:
	// patience.
	patience time.Duration
}

// patience is how long the answer for a remembered policy may take. Postfix's own patience is 100 s.
const patience = 20 * time.Second

// TestTorture injects each fault, and prints a table at the end. No answer may be wrong, and no policy lost.
func TestTorture(t *testing.T) {
	w := world.Open(t)
	if !testkit.All() {
		testkit.Shorter(t, "each fault as often and for as long as `make torture` has it")
	}
	table := &table{}
	t.Run("faults", func(t *testing.T) {
		for _, f := range faults() {
			t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, w, f)
				begin := time.Now()
				defer func() { table.add(r.row(time.Since(begin))) }() // also of one that has failed
				f.run(t, r)
				r.close(t)
			})
		}
	})
	fmt.Print(table)
}

func faults() []fault {
	var all []fault
	for _, some := range [][]fault{
		processFaults(), diskFaults(), storeFaults(), limitFaults(), clockFaults(), networkFaults(), clientFaults(),
		publisherFaults()} {
		all = append(all, some...)
	}
	return all
}

// rounds returns how often a fault is injected, in the full and in the short form.
func rounds(long, short int) int {
	if testkit.All() {
		return long
	}
	return short
}

// row is the result of a fault.
type row struct {
	fault    string
	injected int
	tally    Tally
	recovery time.Duration // the longest
	times    times         // of the answers for remembered policies
	took     time.Duration
	note     string
}

// table is what is printed at the end.
type table struct {
	mu   sync.Mutex
	rows []row
}

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// order puts the rows in the order of faults.
func (t *table) order() []row {
	var ordered []row
	for _, f := range faults() {
		for _, r := range t.rows {
			if r.fault == f.name {
				ordered = append(ordered, r)
			}
		}
	}
	return ordered
}

// String is the table. Recovery is the longest time from the end of a fault until a new policy was learnt and answered;
// the times beside it are those of answers for policies that were remembered, during the fault.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-38s %8s %9s %6s %5s %6s %7s %9s %9s %9s %6s\n",
		"fault", "injected", "questions", "wrong", "lost", "TEMP", "closed", "recovery", "p99", "slowest", "took")
	var sum Tally
	for _, r := range t.order() {
		fmt.Fprintf(&b, "%-38s %8d %9d %6d %5d %6d %7d %9v %9v %9v %6v", r.fault, r.injected, r.tally.Questions,
			r.tally.Wrong, r.tally.Lost,
			r.tally.Temporary, r.tally.Closed, r.recovery.Round(time.Millisecond),
			r.times.part(0.99), r.times.part(1), r.took.Round(time.Second))
		if r.note != "" {
			b.WriteString("  " + r.note)
		}
		b.WriteByte('\n')
		sum.Questions += r.tally.Questions
		sum.Wrong += r.tally.Wrong
		sum.Lost += r.tally.Lost
	}
	fmt.Fprintf(&b, "%d faults, %d questions: %d wrong answers, %d policies lost\n", len(t.rows), sum.Questions,
		sum.Wrong, sum.Lost)
	return b.String()
}

// times are the times that answers took.
type times []time.Duration

// part returns the time within which this part (0 to 1) of the answers came.
func (t times) part(of float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[int(of*float64(len(t)-1))].Round(100 * time.Microsecond)
}
