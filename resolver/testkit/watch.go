package testkit

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	// every is the time between two rounds of the reference.
	every = 5 * time.Millisecond
	// calibration is how many rounds are made one after the other before anything is measured.
	calibration = 50
	// effort is how many times a round computes; see work.
	effort = 20_000
)

// Watch is a reference that runs beside a test: a plain echo server in this process, which is asked every few
// milliseconds and works a little for each answer. How long its rounds take tells what the machine does to a program at
// that moment.
type Watch struct {
	quiet time.Duration // of a round that nothing disturbs: the fastest

	mu     sync.Mutex
	rounds []time.Duration
	sum    time.Duration
}

// StartWatch starts a reference. It ends with the test.
func StartWatch(t testing.TB) *Watch {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("the reference: %v", err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("the reference: %v", err)
	}
	var running sync.WaitGroup
	running.Go(func() { echo(listener) })
	end := make(chan struct{})
	w := &Watch{}
	for range calibration {
		w.round(conn)
	}
	w.quiet = slices.Min(w.rounds)
	running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.round(conn)
			case <-end:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(end)
		_ = conn.Close()
		_ = listener.Close()
		running.Wait()
	})
	return w
}

// echo answers each byte of one connection by the same, until it ends.
func echo(listener net.Listener) {
	conn, err := listener.Accept()
	if err != nil {
		return // the test ends already
	}
	defer conn.Close()
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		work(b)
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}

// work takes some tens of microseconds of a processor.
func work(b []byte) {
	x := uint32(b[0]) | 1
	for range effort {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	b[0] = byte(x)
}

// round asks once, and notes how long the answer took.
func (w *Watch) round(conn net.Conn) {
	begin := time.Now()
	b := make([]byte, 1)
	if _, err := conn.Write(b); err != nil {
		return // the test ends
	}
	if _, err := io.ReadFull(conn, b); err != nil {
		return
	}
	took := time.Since(begin)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rounds = append(w.rounds, took)
	w.sum += took
}

// Part returns the time within which this part of the rounds since Start ended; 1 is all of them.
func (w *Watch) Part(of float64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	sorted := slices.Sorted(slices.Values(w.rounds))
	return sorted[int(of*float64(len(sorted)-1))]
}

// Limit returns what may take this long on a machine that does nothing else may take on this one as it was since Start:
// so many times longer as the reference's rounds took on average, and twice the longest of them.
func (w *Watch) Limit(quiet time.Duration) time.Duration {
	w.mu.Lock()
	slowdown := float64(w.sum) / float64(time.Duration(len(w.rounds))*w.quiet)
	w.mu.Unlock()
	return time.Duration(float64(quiet)*max(1, slowdown)) + 2*w.Part(1)
}
