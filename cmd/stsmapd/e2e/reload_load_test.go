package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// TestReloadUnderLoad sends SIGHUP repeatedly while 10,000 questions a second are asked, or as many as the machine
// can carry: each of them is answered, with the policy.
func TestReloadUnderLoad(t *testing.T) {
	w := world.Open(t)
	d := w.Domain("busy")
	d.Publish(t, "1", d.EnforcedText())
	m := w.StartMonitored(t, t.TempDir(), "")
	want := m.Ask(t, "sts", d.Name)
	if !strings.HasPrefix(want, "OK secure") {
		t.Fatalf("before the load: %q", want)
	}
	const (
		rate    = 10_000
		askers  = 10
		batch   = 10 // asked at once by an asker
		pause   = time.Second * askers * batch / rate
		reloads = 8
		between = rate / 2 // questions that are answered between two reloads
	)
	begin := time.Now()
	slowest := make([]time.Duration, askers)
	var answered atomic.Int64
	enough := make(chan struct{})
	var all sync.WaitGroup
	for i := range askers {
		conn, err := net.Dial("tcp", m.Inet.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			var failure error
			a := batches{conn: conn, request: "sts " + d.Name, want: want, size: batch, pause: pause,
				answered: &answered}
			if slowest[i], failure = a.ask(enough); failure != nil {
				t.Error(failure)
			}
		})
	}
	for i := range int64(reloads) {
		world.Eventually(t, world.Hang, "answers under load", func() bool { return answered.Load() >= (i+1)*between })
		m.Signal(t, syscall.SIGHUP)
		world.Eventually(t, world.Hang, "the reload",
			func() bool { return len(m.Log.Lines("event=reloaded")) == int(i)+1 })
	}
	close(enough)
	all.Wait()
	took, asked := time.Since(begin), answered.Load()
	var worst time.Duration
	for _, s := range slowest {
		worst = max(worst, s)
	}
	t.Logf("%d questions in %v, %d reloads meanwhile; the slowest %d took %v",
		asked, took.Round(time.Millisecond), reloads, batch, worst)
	counted := fmt.Sprintf("stsmapd_questions_total{map=\"sts\",outcome=\"enforce\"} %d\n", asked+1)
	if got := m.Get(t, "/metrics"); !strings.Contains(got, counted) {
		t.Errorf("not every question was counted:\n%s", got)
	}
}

// batches asks the same question over one connection, so many times at once, again after each pause.
type batches struct {
	conn          net.Conn
	request, want string
	size          int
	pause         time.Duration
	answered      *atomic.Int64
}

// ask asks until enough is closed, and returns the longest that a batch took.
func (a batches) ask(enough <-chan struct{}) (slowest time.Duration, err error) {
	questions := bytes.Repeat(netstring.Append(nil, a.request), a.size)
	answers := bytes.Repeat(netstring.Append(nil, a.want), a.size)
	got := make([]byte, len(answers))
	in := bufio.NewReader(a.conn)
	tick := time.NewTicker(a.pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-enough:
			return slowest, nil
		}
		asked := time.Now()
		if err := a.conn.SetDeadline(asked.Add(world.Hang)); err != nil {
			return slowest, err
		}
		if _, err := a.conn.Write(questions); err != nil {
			return slowest, err
		}
		if n, err := io.ReadFull(in, got); err != nil {
			return slowest, fmt.Errorf("answers of a batch: %w after %q", err, got[:n])
		}
		if !bytes.Equal(got, answers) {
			return slowest, fmt.Errorf("answers of a batch: %q", got)
		}
		slowest = max(slowest, time.Since(asked))
		a.answered.Add(int64(a.size))
	}
}
