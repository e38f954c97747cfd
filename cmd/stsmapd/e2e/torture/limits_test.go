package torture

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func limitFaults() []fault {
	return []fault{
		{name: "file descriptors exhausted", run: noFiles},
		{name: "GOMEMLIMIT=32MiB under a flood", run: softMemory},
		// It may die of it: all of a load's connections, and what tries again until the end is noticed.
		{name: "RLIMIT_AS under a flood", run: hardMemory, closed: 6000 * rounds(5, 1)},
	}
}

// spareFiles is how many more files than it has the daemon may open.
const spareFiles = 6

// noFiles takes the file descriptors away that lookups and new connections need, while both are wanted. Those who are
// connected get their answers.
func noFiles(t *testing.T, r *rig) {
	for range rounds(5, 1) {
		stop := r.load(t)
		r.d.Limit(t, unix.RLIMIT_NOFILE, uint64(r.d.Usage(t).Files+spareFiles))
		r.injected++
		crowd := r.connect(t, r.d.Address, 200)
		wait(time.Duration(rounds(5, 2)) * time.Second)
		for _, c := range crowd {
			_ = c.Close()
		}
		r.d.Limit(t, unix.RLIMIT_NOFILE, unix.RLIM_INFINITY)
		end := time.Now()
		stop()
		r.recovers(t, end)
		r.census(t)
	}
}

// connect opens connections to this address that send nothing.
func (r *rig) connect(t *testing.T, address string, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		// From many addresses: each has ports enough for some.
		d := net.Dialer{Timeout: answerLimit, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 2, byte(i>>8), byte(i))}}
		var err error
		if conns[i], err = d.DialContext(t.Context(), "tcp", address); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	return conns
}

// flood asks for new domains that have no policy, over so many connections, until ctx
// ends, and opens as many connections that say nothing.
func (r *rig) flood(ctx context.Context, t *testing.T, askers, idle int) (end func()) {
	t.Helper()
	crowd := r.connect(t, r.d.Address, idle)
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			a := NewAsker(r.oracle, r.d.Address)
			defer a.Close()
			domains := make([]string, 100)
			for n := 0; ctx.Err() == nil; n++ {
				for j := range domains {
					domains[j] = fmt.Sprintf("n%d-%d-%d.%s.%s", i, n, j, strings.Repeat("long", 15), r.p.Zone)
				}
				if _, err := a.Ask(domains...); err != nil {
					return
				}
			}
		})
	}
	return func() {
		all.Wait()
		for _, c := range crowd {
			_ = c.Close()
		}
	}
}

// softMemory runs the daemon with Go's own memory limit, far below what the flood would like.
func softMemory(t *testing.T, r *rig) {
	r.d.setEnv("GOMEMLIMIT=32MiB")
	for range rounds(3, 1) {
		r.restart(t)
		r.injected++
		stop := r.load(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds(10, 3))*time.Second)
		end := r.flood(ctx, t, 20, 500)
		<-ctx.Done()
		r.peak(t, 150<<20)
		end()
		cancel()
		stop()
		r.recovers(t, time.Now())
		r.census(t)
	}
}

// peak notes the daemon's memory now, which must be at most so many bytes.
func (r *rig) peak(t *testing.T, limit int64) {
	t.Helper()
	use := r.d.Usage(t)
	if use.Resident > limit {
		t.Errorf("the daemon has %d MiB resident, at most %d may be", use.Resident>>20, limit>>20)
	}
	r.resident = max(r.resident, use.Resident)
	r.note = fmt.Sprintf("%d MiB resident", r.resident>>20)
}

// hardMemory lets the daemon have hardly more addresses than it has. It may live with that, or die; then it is started
// again, as systemd would.
func hardMemory(t *testing.T, r *rig) {
	died := 0
	for range rounds(5, 1) {
		stop := r.load(t)
		r.d.Doomed = true
		r.d.Limit(t, unix.RLIMIT_AS, uint64(r.d.Usage(t).Virtual+1<<20))
		r.injected++
		ctx, cancel := context.WithCancel(t.Context())
		end := r.flood(ctx, t, 50, 0)
		world.Poll(time.Duration(rounds(10, 3))*time.Second, r.d.Ended)
		cancel()
		begin := time.Now()
		stop()
		if r.d.Ended() {
			died++
			r.d.Start(t)
		} else {
			r.d.Limit(t, unix.RLIMIT_AS, unix.RLIM_INFINITY)
		}
		end()
		r.recovers(t, begin)
		r.d.Doomed = false
		r.census(t)
	}
	r.note = fmt.Sprintf("it died of %d", died)
}
