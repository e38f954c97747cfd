package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

func clientFaults() []fault {
	return []fault{
		{name: "clients: half requests", run: halfRequests},
		{name: "clients: flood of connections", run: manyConnections},
		{name: "clients: every connection held", run: everyConnection},
		{name: "clients: flood of unknown domains", run: manyKeys},
		{name: "clients: 10,000 questions in one go", run: pipelines},
		{name: "clients: replies never read", run: neverReading},
		{name: "clients: resets amid replies", run: resets},
		{name: "clients: garbage, 10 kB keys", run: garbage},
	}
}

// Bounds on what hostile clients may do to the daemon and to others.
const (
	clientMemory   = 200 << 20 // bytes resident
	crowdMemory    = 600 << 20 // with as many connections as are accepted
	clientPatience = 10 * time.Second
)

// amid runs something hostile while well-behaved clients ask: 99 of 100 of their answers must come within
// clientPatience, and the daemon must not take more memory than this.
func (r *rig) amid(t *testing.T, memory int64, hostile func()) {
	t.Helper()
	r.learn(t, 500)
	stop := r.load(t)
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); hostile() }()
	sample := time.NewTicker(50 * time.Millisecond)
	defer sample.Stop()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-sample.C:
		}
		r.peak(t, memory)
	}
	end := time.Now()
	r.recovers(t, end)
	stop()
	if p99 := r.times.part(0.99); p99 > r.watch.Limit(clientPatience) {
		t.Errorf("a well-behaved client's answers took %v, the slowest hundredth left out", p99)
	}
	r.census(t)
}

// halfRequests sends questions that end at every place.
func halfRequests(t *testing.T, r *rig) {
	r.amid(t, clientMemory, func() {
		whole := string(netstring.Append(nil, "sts ", r.p.Domain(0)))
		for range rounds(5, 1) {
			crowd := r.connect(t, r.d.Address, 500)
			for i, c := range crowd {
				_, _ = io.WriteString(c, whole[:1+i%(len(whole)-1)])
				r.injected++
			}
			wait(time.Duration(rounds(12, 2)) * time.Second) // the daemon's own patience is 10 s
			closeAll(crowd)
		}
	})
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// manyConnections opens more connections than the daemon accepts, or half as many as this machine lets a process have
// files, since other faults run in this process at the same time; in the short form only some.
func manyConnections(t *testing.T, r *rig) {
	n := rounds(min(socketmap.DefaultMaxConns+500, mostFiles(t)/2), 2000)
	r.restart(t) // with that limit
	r.amid(t, crowdMemory, func() {
		crowd := r.connect(t, r.d.Address, n)
		r.injected = n
		for _, c := range crowd { // most of them have asked something once
			_, _ = c.Write(netstring.Append(nil, "sts ", r.p.Domain(0)))
		}
		wait(time.Duration(rounds(10, 1)) * time.Second)
		closeAll(crowd)
	})
	full := len(r.d.Log.Lines("event=socketmap_conn_limit"))
	if n > socketmap.DefaultMaxConns && full == 0 {
		t.Error("the limit on connections was not reached")
	}
}

// mostFiles lets this process, and those that it starts, open as many files as it may, and returns how many.
func mostFiles(t *testing.T) int {
	t.Helper()
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	const enough = 1 << 16
	for _, most := range []uint64{max(now.Max, enough), now.Max} { // not every root may have more
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: most}) == nil {
			return int(min(most, enough))
		}
	}
	return int(now.Cur)
}

// manyKeys asks for domains that have no policy, each once, as fast as the DNS answers.
func manyKeys(t *testing.T, r *rig) {
	r.amid(t, clientMemory, func() {
		before := r.oracle.Tally().Questions
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds(20, 3))*time.Second)
		defer cancel()
		r.flood(ctx, t, 50, 0)()
		r.injected = r.oracle.Tally().Questions - before
	})
}

// pipelines asks 10,000 questions before it reads the first answer; all are answered, in order.
func pipelines(t *testing.T, r *rig) {
	r.amid(t, clientMemory, func() {
		known := r.oracle.Known()
		domains := make([]string, 10_000)
		for range rounds(20, 2) {
			for i := range domains {
				if domains[i] = r.any(known); i%100 == 0 {
					domains[i] = fmt.Sprintf("pipe%d-%d.%s", r.injected, i, r.p.Zone)
				}
			}
			a := NewAsker(r.oracle, r.d.Address)
			if _, err := a.Ask(domains...); err != nil {
				t.Errorf("10,000 questions in one go: %v", err)
			}
			a.Close()
			r.injected++
		}
	})
}

// questions are n questions for known domains, as one connection sends them.
func (r *rig) questions(n int) []byte {
	known := r.oracle.Known()
	var b []byte
	for range n {
		b = netstring.Append(b, "sts ", r.any(known))
	}
	return b
}

// neverReading asks as long as the daemon takes questions, and reads nothing.
func neverReading(t *testing.T, r *rig) {
	r.amid(t, clientMemory, func() {
		questions := r.questions(1000)
		limit := time.Duration(rounds(15, 3)) * time.Second
		var all sync.WaitGroup
		crowd := r.connect(t, r.d.Address, rounds(100, 50))
		for _, c := range crowd {
			r.injected++
			all.Go(func() {
				_ = c.SetDeadline(time.Now().Add(limit))
				for {
					if _, err := c.Write(questions); err != nil { // it waits for us to read, or has hung up
						return
					}
				}
			})
		}
		all.Wait()
		closeAll(crowd)
	})
}

// resets ends connections in the middle of replies.
func resets(t *testing.T, r *rig) {
	r.amid(t, clientMemory, func() {
		questions := r.questions(200)
		for range rounds(40, 4) {
			crowd := r.connect(t, r.d.Address, 50)
			for _, c := range crowd {
				_, _ = c.Write(questions)
				_, _ = io.ReadFull(c, make([]byte, 1+rand.IntN(2000)))
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
				r.injected++
			}
		}
	})
}

// rubbish is bytes that are no question, or none with an answer.
func rubbish() [][]byte {
	noise := make([]byte, 4096)
	random := rand.NewChaCha8([32]byte{3})
	_, _ = random.Read(noise)
	return [][]byte{
		noise,
		[]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		[]byte("9999999999999999999999:"),
		[]byte("100000:" + strings.Repeat("x", 1000)),
		[]byte("-5:hello,"),
		[]byte("5:hello;"),
		[]byte("0:,"),
		bytes.Repeat([]byte("0:,"), 10_000),
		[]byte(strings.Repeat("1", 1<<20)),
		netstring.Append(nil, "sts ", strings.Repeat("a.", 4990)),
		netstring.Append(nil, "sts ", strings.Repeat("a", 9990)),
		netstring.Append(nil, "sts ", strings.Repeat("\xff", 9990)),
		netstring.Append(nil, strings.Repeat("+dane", 1990), " example.com"),
		netstring.Append(nil, "sts ", "[[[[\x00\n]]]]:::"),
	}
}

// garbage sends bytes that are no question. The daemon replies with an error or NOTFOUND, or closes the connection, and
// keeps running.
func garbage(t *testing.T, r *rig) {
	r.amid(t, clientMemory, func() {
		for range rounds(50, 5) {
			for _, junk := range rubbish() {
				r.injected++
				c := r.connect(t, r.d.Address, 1)[0]
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				go func() { _, _ = c.Write(junk) }()
				answer := make([]byte, 4)
				if _, err := io.ReadFull(c, answer); err == nil && bytes.HasSuffix(answer, []byte(":OK")) {
					t.Errorf("%.40q is answered OK", junk)
				}
				_ = c.Close()
			}
		}
	})
}
