package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// reader is what reads the log: it can stop reading, and go.
type reader struct {
	reading chan struct{} // holds a value while a write is in progress, or stopped
	gone    error
	got     bytes.Buffer
}

func newReader() *reader { return &reader{reading: make(chan struct{}, 1)} }

func (r *reader) Write(p []byte) (int, error) {
	r.reading <- struct{}{}
	defer func() { <-r.reading }()
	if r.gone != nil {
		return 0, r.gone
	}
	return r.got.Write(p)
}

// stop makes writers wait until start.
func (r *reader) stop() { r.reading <- struct{}{} }

func (r *reader) start() { <-r.reading }

// TestLogThatBlocks: nobody who logs waits for a log that blocks. What does not fit is dropped, and reported in its
// place when the log is read again.
func TestLogThatBlocks(t *testing.T) {
	for _, format := range []Format{Text, JSON} {
		synctest.Test(t, func(t *testing.T) {
			r := newReader()
			out := New(r, true)
			out.Set(slog.LevelInfo, format)
			log := out.Logger()
			r.stop()
			const lines = 20_000
			for n := range lines {
				log.Info("line "+strings.Repeat("x", 200), "n", n)
			}
			dropped := out.Dropped()
			r.start()
			synctest.Wait()
			log.Info("after")
			out.Close(time.Second)
			got := strings.Split(strings.TrimSuffix(r.got.String(), "\n"), "\n")
			if uint64(len(got)) != lines-dropped+2 || dropped == 0 || r.got.Len() > 2*maxQueued {
				t.Fatalf("%d lines of %d and 2 more, %d dropped", len(got), lines, dropped)
			}
			for n, line := range got[:lines-dropped] {
				if want := fmt.Sprint(n); !strings.Contains(line, "n="+want) && !strings.Contains(line, `"n":`+want) {
					t.Fatalf("line %d is %q", n, line)
				}
			}
			notice, last := got[len(got)-2], got[len(got)-1]
			want := map[Format]string{
				Text: fmt.Sprintf(`<4>level=WARN msg="log lines were dropped, .*" event=log_dropped lines=%d`, dropped),
				JSON: fmt.Sprintf(
					`<4>{"level":"WARN","msg":"log lines were dropped, .*","event":"log_dropped","lines":%d}`, dropped),
			}[format]
			before, after, _ := strings.Cut(want, ".*")
			if !strings.HasPrefix(notice, before) || !strings.HasSuffix(notice, after) ||
				!strings.Contains(last, "after") {
				t.Errorf("the notice is\n%s, want\n%s; the last line is %s", notice, want, last)
			}
		})
	}
}

// TestLogWithoutAReader: lines that cannot be written are counted, and reported when somebody reads again.
func TestLogWithoutAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		r.gone = syscall.EPIPE
		out := New(r, false)
		log := out.Logger()
		for range 3 {
			log.Error("unread")
			synctest.Wait()
		}
		r.stop()
		r.gone = nil
		r.start()
		log.Info("read")
		synctest.Wait()
		log.Info("also read")
		out.Close(time.Second)
		got := r.got.String()
		if strings.Count(got, "\n") != 3 || !strings.Contains(got, "event=log_dropped lines=3") || out.Dropped() != 3 {
			t.Errorf("%d dropped:\n%s", out.Dropped(), got)
		}
	})
}

// TestCloseOfALogThatBlocks: the end of the daemon waits for its last lines, but not for ever.
func TestCloseOfALogThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		out := New(r, false)
		r.stop()
		out.Logger().Info("line")
		begin := time.Now()
		out.Close(time.Second)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("closed after %v", took)
		}
		r.start()
		synctest.Wait()
		if n, err := out.Write([]byte("late\nlines\n")); n != 11 || err != nil || out.Dropped() != 2 {
			t.Errorf("after the end: %d, %v, %d dropped", n, err, out.Dropped())
		}
	})
}
