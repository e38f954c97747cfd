package tlsrpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestSend(t *testing.T) {
	path := socketPath(t)
	conn := listen(t, path)
	c, log := collector(t, path, time.Hour)
	c.Send(sample())
	var got any
	if err := json.Unmarshal(receive(t, conn), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"dpv": "1", "d": "example.com", "pr": "v=TLSRPTv1; rua=mailto:tls@example.com",
		"policies": []any{map[string]any{
			"policy-type": 2.0, "policy-domain": "example.com",
			"policy-string": []any{
				"version: STSv1", "mode: enforce", "mx: mail.example.com", "mx: *.example.net", "max_age: 604800"},
			"mx-host": []any{"mail.example.com", "*.example.net"},
			"failure-details": []any{
				map[string]any{"c": 303.0, "f": "the certificate of mta-sts.example.com has expired"}},
			"t": 1.0, "f": 1.0,
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	c.Close()
	checkStats(t, c, 1, 0)
	log.none(t)
}

// TestLargest: a real socket accepts the largest datagram.
func TestLargest(t *testing.T) {
	path := socketPath(t)
	conn := listen(t, path)
	c, _ := collector(t, path, time.Hour)
	r := sample()
	r.Policy = lines(20000, 10)
	c.Send(r)
	if got, want := receive(t, conn), r.Datagram(); string(got) != string(want) || len(want) < maxDatagram-100 {
		t.Errorf("%d bytes arrived of %d", len(got), len(want))
	}
}

// TestAway: without a collector at the path, reports are dropped and counted, and it is logged once.
func TestAway(t *testing.T) {
	for _, c := range []struct {
		why  string
		make func(t *testing.T, path string)
		err  error
	}{
		{"nothing", func(*testing.T, string) {}, os.ErrNotExist},
		{"a socket that no process reads", func(t *testing.T, path string) {
			listen(t, path).Close()
		}, syscall.ECONNREFUSED},
		{"a stream socket", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, syscall.EPROTOTYPE},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, syscall.ECONNREFUSED},
	} {
		t.Run(c.why, func(t *testing.T) {
			path := socketPath(t)
			c.make(t, path)
			collector, log := collector(t, path, time.Hour)
			for n := range 5 {
				collector.Send(numbered(n))
			}
			collector.Close()
			checkStats(t, collector, 0, 5)
			attrs := log.next(t, slog.LevelWarn, "tlsrpt_collector_away")
			if err, _ := attrs["error"].Any().(error); !errors.Is(err, c.err) {
				t.Errorf("logged %v, want %v", err, c.err)
			}
			if got := attrs["socket"].String(); got != path {
				t.Errorf("logged socket %q, want %q", got, path)
			}
			log.none(t)
		})
	}
}

// TestAwayPath: a path that is too long for a socket is the same.
func TestAwayPath(t *testing.T) {
	c, log := collector(t, "/"+strings.Repeat("long", 50), time.Hour)
	c.Send(sample())
	c.Close()
	checkStats(t, c, 0, 1)
	log.next(t, slog.LevelWarn, "tlsrpt_collector_away")
}

// TestRestart: the collector restarts twice, first after it has removed its socket's file, then after it was killed and
// has not.
func TestRestart(t *testing.T) {
	path := socketPath(t)
	first := listen(t, path)
	c, log := collector(t, path, time.Hour)
	c.Send(numbered(1))
	if got := domainOf(t, receive(t, first)); got != "d1.example.com" {
		t.Errorf("the first has %s", got)
	}
	first.Close()
	remove(t, path)
	c.Send(numbered(2))
	log.next(t, slog.LevelWarn, "tlsrpt_collector_away")
	second := listen(t, path)
	c.Send(numbered(3))
	if got := domainOf(t, receive(t, second)); got != "d3.example.com" {
		t.Errorf("the second has %s", got)
	}
	attrs := log.next(t, slog.LevelInfo, "tlsrpt_collector_back")
	if got := attrs["dropped"].Uint64(); got != 1 {
		t.Errorf("logged %d dropped, want 1", got)
	}
	second.Close()
	c.Send(numbered(4))
	log.next(t, slog.LevelWarn, "tlsrpt_collector_away")
	remove(t, path)
	listen(t, path)
	c.Send(numbered(5))
	if got := log.next(t, slog.LevelInfo, "tlsrpt_collector_back")["dropped"].Uint64(); got != 1 {
		t.Errorf("logged %d dropped the second time, want 1", got)
	}
	c.Close()
	checkStats(t, c, 3, 2)
	log.none(t)
}

// TestReplaced: reports go to the collector whose socket is at the path now, even if an older one is still open.
func TestReplaced(t *testing.T) {
	path := socketPath(t)
	first := listen(t, path)
	c, log := collector(t, path, time.Hour)
	c.Send(numbered(1))
	receive(t, first)
	remove(t, path)
	second := listen(t, path)
	c.Send(numbered(2))
	if got := domainOf(t, receive(t, second)); got != "d2.example.com" {
		t.Errorf("the second has %s", got)
	}
	c.Close()
	checkStats(t, c, 2, 0)
	log.none(t)
}

// TestBurst: more reports than the socket's queue can hold are not lost while the collector does not read.
func TestBurst(t *testing.T) {
	path := socketPath(t)
	conn := listen(t, path)
	c, log := collector(t, path, time.Hour)
	for n := range queueLength {
		c.Send(numbered(n))
	}
	for n := range queueLength {
		if got, want := domainOf(t, receive(t, conn)), fmt.Sprintf("d%d.example.com", n); got != want {
			t.Fatalf("%s arrived, want %s", got, want)
		}
	}
	c.Close()
	checkStats(t, c, queueLength, 0)
	log.none(t)
}

// overflow sends reports until one is dropped, and returns their number. The socket is not read meanwhile, so both
// queues, the Collector's and the socket's, become full.
func overflow(t *testing.T, c *Collector) uint64 {
	t.Helper()
	_, before := c.Stats()
	for n := range 100000 {
		c.Send(numbered(n))
		if _, dropped := c.Stats(); dropped > before {
			return uint64(n) + 1
		}
	}
	t.Fatal("no report was ever dropped")
	return 0
}

// TestFull: the collector reads too slowly. The goroutine waits for room, for up to an hour, but Send returns at once.
// The collector gets all reports that were not dropped, each is counted once, and until the queue is empty again only
// one failure is logged.
func TestFull(t *testing.T) {
	path := socketPath(t)
	conn := listen(t, path)
	c, log := collector(t, path, time.Hour)
	total := overflow(t, c)
	var received uint64
	for before, _ := c.Stats(); ; received++ {
		if now, _ := c.Stats(); now >= before+10 {
			break
		}
		receive(t, conn)
	}
	total += overflow(t, c)
	_, dropped := c.Stats()
	for ; received < total-dropped; received++ {
		receive(t, conn)
	}
	attrs := log.next(t, slog.LevelWarn, "tlsrpt_collector_away")
	if err, _ := attrs["error"].Any().(error); !errors.Is(err, errTooSlow) {
		t.Errorf("logged %v, want %v", err, errTooSlow)
	}
	if got := log.next(t, slog.LevelInfo, "tlsrpt_collector_back")["dropped"].Uint64(); got != dropped {
		t.Errorf("logged %d dropped, want %d", got, dropped)
	}
	c.Close()
	checkStats(t, c, total-dropped, dropped)
	log.none(t)
}

// TestStuck: the socket is never read. Close does not wait for each report in the queue.
func TestStuck(t *testing.T) {
	path := socketPath(t)
	listen(t, path)
	c, log := collector(t, path, 100*time.Millisecond)
	var err error
	for err == nil {
		err = c.write([]byte("{}"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("writing to a full socket: %v", err)
	}
	const total = 200
	for n := range total {
		c.Send(numbered(n))
	}
	attrs := log.next(t, slog.LevelWarn, "tlsrpt_collector_away")
	if err, _ := attrs["error"].Any().(error); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("logged %v, want %v", err, os.ErrDeadlineExceeded)
	}
	watch, begun := testkit.StartWatch(t), time.Now()
	c.Close()
	// waiting for each would take 20 s
	if took, limit := time.Since(begun), watch.Limit(10*time.Second); took > limit {
		t.Errorf("Close took %v, may take %v", took, limit)
	}
	checkStats(t, c, 0, total)
	log.none(t)
}

// TestClose: earlier reports are sent, later ones are dropped, and closing twice is not an error.
func TestClose(t *testing.T) {
	path := socketPath(t)
	conn := listen(t, path)
	c, log := collector(t, path, time.Hour)
	for n := range 5 {
		c.Send(numbered(n))
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	c.Send(numbered(5))
	checkStats(t, c, 5, 1)
	for range 5 {
		receive(t, conn)
	}
	log.none(t)
}

func TestNotSent(t *testing.T) {
	path := socketPath(t)
	listen(t, path)
	c, log := collector(t, path, time.Hour)
	c.Send(Report{})
	c.Close()
	checkStats(t, c, 0, 1)
	log.none(t)
}

// TestConcurrent: reports are sent while the Collector is closed. Each is counted once, and those counted as sent have
// arrived.
func TestConcurrent(t *testing.T) {
	path := socketPath(t)
	conn := listen(t, path)
	c := New(path, slog.New(slog.DiscardHandler))
	const senders, each = 8, 50
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for n := range each {
				c.Send(numbered(n))
			}
		})
	}
	for range senders {
		receive(t, conn)
	}
	const last = "the last one"
	go func() {
		c.Close()
		all.Wait()
		end := start(path, slog.New(slog.DiscardHandler), time.Hour)
		end.enqueue([]byte(last))
		end.Close()
	}()
	received := uint64(senders)
	for string(receive(t, conn)) != last {
		received++
	}
	sent, dropped := c.Stats()
	if received != sent || sent+dropped != senders*each {
		t.Errorf("%d received, %d sent and %d dropped of %d", received, sent, dropped, senders*each)
	}
}
