package load

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// fake serves a UNIX socket; answer is given the number of the question, from 1, and returns what is written.
func fake(t *testing.T, answer func(n int64) string) (spec string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var asked atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, _, err := netstring.Parse(buf[:n], n); err != nil {
						t.Errorf("question %q: %v", buf[:n], err)
					}
					if _, err := conn.Write([]byte(answer(asked.Add(1)))); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "unix:" + path
}

// perform runs a job by Program, with this process for the server.
func perform(t *testing.T, j Job) (Outcome, error) {
	t.Helper()
	j.Server = os.Getpid()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	in, out := net.Pipe() // stays open, as the standard input of a load does
	defer out.Close()
	go func() { _, _ = out.Write(text) }()
	var printed bytes.Buffer
	if err := Program(in, &printed); err != nil {
		return Outcome{}, err
	}
	var o Outcome
	return o, json.Unmarshal(printed.Bytes(), &o)
}

func TestClosedLoop(t *testing.T) {
	spec := fake(t, func(n int64) string {
		if n == 7 {
			return "9:TEMP busy,"
		}
		return "9:NOTFOUND ,"
	})
	o, err := perform(t, Job{Spec: spec, Conns: 3, Names: Names{Zone: internet.Near}, Expect: "NOTFOUND ", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	if o.Questions != 100 || o.Other != 1 || o.Example != "TEMP busy" {
		t.Errorf("%+v, want 100 questions, one of them answered TEMP", o)
	}
	if o.P50 == 0 || o.P50 > o.P99 || o.P99 > o.P999 || o.P999 > o.Max || o.CPU == 0 {
		t.Errorf("%+v", o)
	}
	if o.Check() == nil {
		t.Error("a reply that was not expected is no error")
	}
}

func TestWindow(t *testing.T) {
	spec := fake(t, func(int64) string { return "9:NOTFOUND ," })
	for _, rate := range []float64{0, 1000} {
		const window = 50 * time.Millisecond
		j := Job{Spec: spec, Conns: 2, Names: Names{Zone: internet.Near}, Expect: "NOTFOUND ", Rate: rate,
			Warmup: time.Millisecond, Window: window}
		o, err := perform(t, j)
		if err != nil || o.Elapsed < window {
			t.Errorf("rate %v: %+v, %v", rate, o, err)
		}
	}
}

// TestLoadIsEnded: a load has no window and ends when its input does.
func TestLoadIsEnded(t *testing.T) {
	enough := make(chan struct{})
	spec := fake(t, func(n int64) string {
		if n == 100 {
			close(enough)
		}
		return "9:NOTFOUND ,"
	})
	in, out := net.Pipe()
	go func() {
		_ = json.NewEncoder(out).Encode(
			Job{Spec: spec, Conns: 2, Names: Names{Zone: internet.Near}, Server: os.Getpid()})
		<-enough
		out.Close()
	}()
	var printed bytes.Buffer
	if err := Program(in, &printed); err != nil {
		t.Fatal(err)
	}
	var o Outcome
	if err := json.Unmarshal(printed.Bytes(), &o); err != nil || o.Questions < 98 { // two may have been under way
		t.Errorf("%+v, %v", o, err)
	}
}

// TestPacedStall: a server that stalls once holds up all questions that come meanwhile, and each of them counts.
func TestPacedStall(t *testing.T) {
	const stall, rate = 100 * time.Millisecond, 500
	spec := fake(t, func(n int64) string {
		if n == 1 {
			<-time.After(stall)
		}
		return "9:NOTFOUND ,"
	})
	o, err := perform(t, Job{
		Spec: spec, Conns: 1, Names: Names{Zone: internet.Near}, Expect: "NOTFOUND ", Rate: rate, Limit: 300})
	if err != nil {
		t.Fatal(err)
	}
	// 50 of the 300 questions came in the stall. Only one was asked in it: a closed loop would count that one, far
	// above p99.
	if o.Max < stall || o.P99 < stall/2 {
		t.Errorf("%+v: the questions that came in the stall were not counted", o)
	}
}

func TestLoadFails(t *testing.T) {
	for _, c := range []struct{ reply, why string }{
		{"no netstring", "another protocol"},
		{"20000:", "more than there is room for"},
	} {
		_, err := perform(t, Job{
			Spec: fake(t, func(int64) string { return c.reply }), Conns: 1, Names: Names{Zone: internet.Near},
			Limit: 1})
		if err == nil || !strings.Contains(err.Error(), "reading a reply") {
			t.Errorf("%s: error %v", c.why, err)
		}
	}
	if _, err := perform(t, Job{Spec: "unix:/nonexistent/s", Conns: 1, Limit: 1}); err == nil {
		t.Error("no error where nobody listens")
	}
}
