package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/packaging/e2e/world"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// TestReloadUnderLoad sends SIGHUP again and again while 10,000 questions a second are asked: each of them is answered, with
// the policy.
func TestReloadUnderLoad(t *testing.T) {
	w := world.Open(t)
	d := w.Domain("busy")
	d.Publish(t, "1", enforce(d))
	m := startMonitored(t, w, t.TempDir(), "")
	want := m.Ask(t, "sts", d.Name)
	if !strings.HasPrefix(want, "OK secure") {
		t.Fatalf("before the load: %q", want)
	}
	const (
		rate    = 10_000
		seconds = 5
		askers  = 10
		batch   = 10 // asked at once by an asker
		pause   = time.Second * askers * batch / rate
		reloads = 8
	)
	begin := time.Now()
	slowest := make([]time.Duration, askers)
	var all sync.WaitGroup
	for i := range askers {
		conn, err := net.Dial("tcp", m.Inet.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			var failure error
			if slowest[i], failure = askBatches(conn, "sts "+d.Name, want, rate*seconds/askers/batch, batch, pause); failure != nil {
				t.Error(failure)
			}
		})
	}
	hup := time.NewTicker(seconds * time.Second / (reloads + 1))
	for range reloads {
		<-hup.C
		m.Signal(t, syscall.SIGHUP)
	}
	hup.Stop()
	all.Wait()
	took := time.Since(begin)
	world.Eventually(t, reloadLimit, "the last reload", func() bool { return len(m.Log.Lines("event=reloaded")) == reloads })
	var worst time.Duration
	for _, s := range slowest {
		worst = max(worst, s)
	}
	t.Logf("%d questions in %v, %d reloads meanwhile; the slowest %d took %v", rate*seconds, took.Round(time.Millisecond), reloads, batch, worst)
	if took > 2*seconds*time.Second {
		t.Errorf("%d questions took %v: this was not %d a second", rate*seconds, took, rate)
	}
	if got := m.get(t, "/metrics"); !strings.Contains(got, fmt.Sprintf("stsmapd_questions_total{map=\"sts\",outcome=\"enforce\"} %d\n", rate*seconds+1)) {
		t.Errorf("not every question was counted:\n%s", got)
	}
}

// askBatches asks the same question over one connection, so many times at once, again after each pause, and returns the
// longest that a batch took.
func askBatches(conn net.Conn, request, want string, batches, batch int, pause time.Duration) (slowest time.Duration, err error) {
	questions := bytes.Repeat(netstring.Append(nil, request), batch)
	answers := bytes.Repeat(netstring.Append(nil, want), batch)
	got := make([]byte, len(answers))
	in := bufio.NewReader(conn)
	begin := time.Now()
	for i := range batches {
		<-time.After(time.Until(begin.Add(time.Duration(i) * pause)))
		asked := time.Now()
		if err := conn.SetDeadline(asked.Add(10 * time.Second)); err != nil {
			return slowest, err
		}
		if _, err := conn.Write(questions); err != nil {
			return slowest, err
		}
		if n, err := io.ReadFull(in, got); err != nil {
			return slowest, fmt.Errorf("answers of batch %d: %w after %q", i, err, got[:n])
		}
		if !bytes.Equal(got, answers) {
			return slowest, fmt.Errorf("answers of batch %d: %q", i, got)
		}
		slowest = max(slowest, time.Since(asked))
	}
	return slowest, nil
}
