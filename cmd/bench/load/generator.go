// Package load asks a socketmap server questions over many connections, and measures how long the answers take and how
// much CPU time the server uses meanwhile.
package load

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/proc"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// Job is a load: questions over connections that have at most one question open each, as those of Postfix's SMTP
// clients.
type Job struct {
	Spec   string // the server's listener, as Postfix writes it
	Conns  int
	Names  Names
	Expect string  // what each reply begins with
	Rate   float64 // questions a second, over all connections; 0: closed loop, the next question follows the reply

	Warmup time.Duration // not measured
	Window time.Duration // measured; 0: until Limit questions were asked
	Limit  int           // questions in all; 0: no limit

	Server int   // the process whose CPU time is measured
	Own    []int // processes that belong to the measurement, the load's and the server's own aside
}

// Outcome is what a load measured.
type Outcome struct {
	Questions int // answered in the window
	Elapsed   time.Duration
	CPU       time.Duration // of the server
	Others    float64       // part of the machine that other processes had, 0 to 1
	Other     int           // replies that did not begin as expected
	Example   string        // one of those replies

	P50, P99, P999, Max time.Duration // from question to answer
}

// Longest is how long a load without a window may take.
const Longest = time.Hour

// PerQuestion is the server's CPU time for a question.
func (o Outcome) PerQuestion() time.Duration {
	return o.CPU / time.Duration(max(o.Questions, 1))
}

// Rate is the number of questions answered in a second.
func (o Outcome) Rate() int { return int(float64(o.Questions) / o.Elapsed.Seconds()) }

// Check returns an error if a reply did not begin as expected, or if no question was answered.
func (o Outcome) Check() error {
	if o.Other > 0 {
		return fmt.Errorf("%d replies were not as expected, such as %q", o.Other, strings.TrimSpace(o.Example))
	}
	if o.Questions == 0 {
		return errors.New("no question was answered")
	}
	return nil
}

// Program reads a Job as a line of JSON, runs it and writes the Outcome as JSON. The end of the input ends the load
// early.
func Program(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(in)
	var j Job
	if err := decoder.Decode(&j); err != nil {
		return fmt.Errorf("load: reading the job: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // the parent closes it to stop the load
	}()
	o, err := Run(j, ended)
	if err != nil {
		return fmt.Errorf("load on %s: %w", j.Spec, err)
	}
	return json.NewEncoder(out).Encode(o)
}

// generator is a running Job.
type generator struct {
	Job
	begin     time.Time
	measuring atomic.Bool
	stopped   atomic.Bool
	next      atomic.Int64 // closed loop: the number of the next question
	askers    []*asker
}

// asker is one connection.
type asker struct {
	conn    net.Conn
	ask     []byte    // buffer of the question
	reply   []byte    // buffer of the reply
	took    histogram // of the window
	other   int       // see Outcome.Other
	example string
}

// Run connects to the server and asks until the window is over, Limit questions were asked, or ended is closed. It
// returns the first error of each connection.
func Run(j Job, ended <-chan struct{}) (o Outcome, err error) {
	g := &generator{Job: j}
	defer func() {
		for _, a := range g.askers {
			a.conn.Close()
		}
	}()
	if err := g.connect(); err != nil {
		return o, err
	}
	ask := g.closedLoop
	if g.Rate > 0 {
		ask = g.paced
	}
	failed := make(chan error, g.Conns)
	done := make(chan struct{})
	start := func() {
		g.begin = time.Now()
		var all sync.WaitGroup
		for i, a := range g.askers {
			all.Go(func() {
				if err := ask(i, a); err != nil {
					failed <- err
					g.stopped.Store(true)
				}
			})
		}
		go func() { all.Wait(); close(done) }()
	}
	err = g.watch(&o, start, done, ended)
	g.stopped.Store(true)
	<-done
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	g.sum(&o)
	return o, err
}

func (g *generator) connect() error {
	network, address, err := socketmap.ParseSpec(g.Spec)
	if err != nil {
		return err
	}
	for range g.Conns {
		conn, err := dialRetrying(network, address)
		if err != nil {
			return err
		}
		g.askers = append(g.askers, &asker{conn: conn, ask: make([]byte, 0, 256), reply: make([]byte, 8192)})
	}
	return nil
}

// dialRetrying connects. Where a UNIX socket's queue is full it tries again for a while: some servers have short ones.
func dialRetrying(network, address string) (net.Conn, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial(network, address)
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return conn, err
		}
		<-time.After(time.Millisecond)
	}
}

// watch starts the askers, marks the window, and measures the server's CPU time in it.
func (g *generator) watch(o *Outcome, start func(), done, ended <-chan struct{}) error {
	wait := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-done:
		case <-ended:
		}
	}
	if g.Warmup > 0 {
		start()
		wait(g.Warmup)
	}
	meter, err := proc.StartMeter(append(g.Own, g.Server, os.Getpid()))
	before, cpuErr := proc.CPUTime(g.Server)
	begin := time.Now()
	g.measuring.Store(true)
	if g.Warmup == 0 {
		start()
	}
	if err := errors.Join(err, cpuErr); err != nil {
		return err
	}
	wait(cmp.Or(g.Window, Longest))
	g.measuring.Store(false)
	o.Elapsed = time.Since(begin)
	after, err := proc.CPUTime(g.Server)
	if err != nil {
		return err
	}
	o.CPU = after - before
	o.Others, err = meter.Others()
	return err
}

func (g *generator) sum(o *Outcome) {
	var took histogram
	for _, a := range g.askers {
		took.merge(&a.took)
		o.Other += a.other
		if a.example != "" {
			o.Example = a.example
		}
	}
	o.Questions = int(took.count)
	o.P50, o.P99, o.P999, o.Max = took.quantile(0.5), took.quantile(0.99), took.quantile(0.999), took.max
}

// closedLoop asks the next question as soon as the last is answered.
func (g *generator) closedLoop(_ int, a *asker) error {
	for !g.stopped.Load() {
		i := int(g.next.Add(1) - 1)
		if g.Limit > 0 && i >= g.Limit {
			return nil
		}
		a.ask = g.Names.AppendQuestion(a.ask[:0], i)
		begin := time.Now()
		if _, err := a.conn.Write(a.ask); err != nil {
			return err
		}
		got, err := ReadReply(a.conn, a.reply)
		if err != nil {
			return err
		}
		g.note(a, got, time.Since(begin))
	}
	return nil
}

// note counts a reply.
func (g *generator) note(a *asker, got []byte, took time.Duration) {
	if !bytes.HasPrefix(got, []byte(g.Expect)) {
		a.other++
		a.example = string(got)
	}
	if g.measuring.Load() {
		a.took.add(took)
	}
}

// ReadReply reads one netstring and returns its payload, which is a part of buf.
func ReadReply(from io.Reader, buf []byte) ([]byte, error) {
	for have := 0; ; {
		n, err := from.Read(buf[have:])
		if err != nil {
			return nil, fmt.Errorf("reading a reply: %w", err)
		}
		have += n
		payload, _, err := netstring.Parse(buf[:have], len(buf))
		if err == nil {
			return payload, nil
		}
		if !errors.Is(err, netstring.ErrIncomplete) || have == len(buf) {
			return nil, fmt.Errorf("reading a reply: %w", err)
		}
	}
}
