package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// job is a load: questions over connections that each have at most one open, as those of Postfix's SMTP clients.
type job struct {
	Spec   string // the server's listener, as Postfix writes it
	Conns  int
	Names  names
	Expect string  // what each reply begins with
	Rate   float64 // questions a second, over all connections; 0: closed loop, the next question follows the reply

	Warmup time.Duration // not measured
	Window time.Duration // measured; 0: until Limit questions were asked
	Limit  int           // questions in all; 0: no limit

	Server int   // the process whose CPU time is measured
	Own    []int // processes that belong to the measurement, the load's and the server's own aside
}

// outcome is what a load brings.
type outcome struct {
	Questions int // answered in the window
	Elapsed   time.Duration
	CPU       time.Duration // of the server
	Others    float64       // part of the machine that others had, 0 to 1
	Other     int           // replies that did not begin as expected
	Example   string        // of those

	P50, P99, P999, Max time.Duration // from question to answer
}

// longest is how long a load without a window may take.
const longest = time.Hour

// perQuestion is the server's CPU time for a question.
func (o outcome) perQuestion() time.Duration {
	return o.CPU / time.Duration(max(o.Questions, 1))
}

// loadProgram reads a job as a line of JSON and writes the outcome. A load whose input ends sooner ends then.
func loadProgram(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(in)
	var j job
	if err := decoder.Decode(&j); err != nil {
		return fmt.Errorf("load: reading the job: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // until whoever gave the job has enough
	}()
	o, err := newLoad(j).run(ended)
	if err != nil {
		return fmt.Errorf("load on %s: %w", j.Spec, err)
	}
	return json.NewEncoder(out).Encode(o)
}

// load is a job under way.
type load struct {
	job
	begin     time.Time
	measuring atomic.Bool
	stopped   atomic.Bool
	next      atomic.Int64 // closed loop: the number of the next question
	askers    []*asker
}

// asker is one connection.
type asker struct {
	conn    net.Conn
	ask     []byte
	reply   []byte
	took    histogram // of the window
	other   int
	example string
}

func newLoad(j job) *load { return &load{job: j} }

// run connects, asks, and measures.
func (l *load) run(ended <-chan struct{}) (o outcome, err error) {
	defer func() {
		for _, a := range l.askers {
			a.conn.Close()
		}
	}()
	if err := l.connect(); err != nil {
		return o, err
	}
	work := l.closedLoop
	if l.Rate > 0 {
		work = l.paced
	}
	failed := make(chan error, l.Conns)
	done := make(chan struct{})
	start := func() {
		l.begin = time.Now()
		var all sync.WaitGroup
		for i, a := range l.askers {
			all.Go(func() {
				if err := work(i, a); err != nil {
					failed <- err
					l.stopped.Store(true)
				}
			})
		}
		go func() { all.Wait(); close(done) }()
	}
	err = l.watch(&o, start, done, ended)
	l.stopped.Store(true)
	<-done
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	l.sum(&o)
	return o, err
}

func (l *load) connect() error {
	network, address, err := socketmap.ParseSpec(l.Spec)
	if err != nil {
		return err
	}
	for range l.Conns {
		conn, err := dialPatiently(network, address)
		if err != nil {
			return err
		}
		l.askers = append(l.askers, &asker{conn: conn, ask: make([]byte, 0, 256), reply: make([]byte, 8192)})
	}
	return nil
}

// dialPatiently connects. Where a UNIX socket's queue is full it tries again for a while: some servers have short ones.
func dialPatiently(network, address string) (net.Conn, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial(network, address)
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return conn, err
		}
		<-time.After(time.Millisecond)
	}
}

// watch starts the askers, marks the window, and measures the server's CPU time in it.
func (l *load) watch(o *outcome, start func(), done, ended <-chan struct{}) error {
	wait := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-done:
		case <-ended:
		}
	}
	if l.Warmup > 0 {
		start()
		wait(l.Warmup)
	}
	meter, err := startMeter(append(l.Own, l.Server, os.Getpid()))
	before, cpuErr := cpuTime(l.Server)
	begin := time.Now()
	l.measuring.Store(true)
	if l.Warmup == 0 {
		start()
	}
	if err := errors.Join(err, cpuErr); err != nil {
		return err
	}
	wait(cmp.Or(l.Window, longest))
	l.measuring.Store(false)
	o.Elapsed = time.Since(begin)
	after, err := cpuTime(l.Server)
	if err != nil {
		return err
	}
	o.CPU = after - before
	o.Others, err = meter.others()
	return err
}

func (l *load) sum(o *outcome) {
	var took histogram
	for _, a := range l.askers {
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
func (l *load) closedLoop(_ int, a *asker) error {
	for !l.stopped.Load() {
		i := int(l.next.Add(1) - 1)
		if l.Limit > 0 && i >= l.Limit {
			return nil
		}
		a.ask = l.Names.appendQuestion(a.ask[:0], i)
		begin := time.Now()
		if _, err := a.conn.Write(a.ask); err != nil {
			return err
		}
		got, err := readReply(a.conn, a.reply)
		if err != nil {
			return err
		}
		l.note(a, got, time.Since(begin))
	}
	return nil
}

// note counts a reply.
func (l *load) note(a *asker, got []byte, took time.Duration) {
	if !bytes.HasPrefix(got, []byte(l.Expect)) {
		a.other++
		a.example = string(got)
	}
	if l.measuring.Load() {
		a.took.add(took)
	}
}

// readReply reads one frame and returns what is in it, a part of buf.
func readReply(from io.Reader, buf []byte) ([]byte, error) {
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
