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
	roundInterval = 5 * time.Millisecond
	// calibration is the number of rounds, without a pause, before StartWatch returns.
	calibrationRounds = 50
	// effort is the number of steps of work in a round.
	workSteps = 20_000
)

// Watch is a reference that runs beside a test: an echo server in this process, which answers every few milliseconds
// and computes a little for each answer. The times of its rounds show how busy the machine is at that moment.
type Watch struct {
	quiet time.Duration // of the fastest round in the calibration

	mu     sync.Mutex
	rounds []time.Duration
	sum    time.Duration
}

// StartWatch starts a reference that runs until the test ends.
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
	for range calibrationRounds {
		w.round(conn)
	}
	w.quiet = slices.Min(w.rounds)
	running.Go(func() {
		tick := time.NewTicker(roundInterval)
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

// echo sends back each byte of one connection until it ends.
func echo(listener net.Listener) {
	conn, err := listener.Accept()
	if err != nil {
		return // the test has ended
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

// work uses a processor for some tens of microseconds.
func work(b []byte) {
	x := uint32(b[0]) | 1
	for range workSteps {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	b[0] = byte(x)
}

// round sends a byte, waits for the answer and records the time.
func (w *Watch) round(conn net.Conn) {
	begin := time.Now()
	b := make([]byte, 1)
	if _, err := conn.Write(b); err != nil {
		return // the test has ended
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

// Part returns the time within which a part of the rounds since StartWatch ended, from 0 to 1 for all of them.
func (w *Watch) Part(of float64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	sorted := slices.Sorted(slices.Values(w.rounds))
	return sorted[int(of*float64(len(sorted)-1))]
}

// Limit returns how long something may take on this machine since StartWatch, if it may take quiet on an idle one:
// quiet times the average slowdown of the rounds, plus twice the longest round.
func (w *Watch) Limit(quiet time.Duration) time.Duration {
	w.mu.Lock()
	slowdown := float64(w.sum) / float64(time.Duration(len(w.rounds))*w.quiet)
	w.mu.Unlock()
	return time.Duration(float64(quiet)*max(1, slowdown)) + 2*w.Part(1)
}
