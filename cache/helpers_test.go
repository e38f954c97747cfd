package cache

import (
	"bytes"
	"flag"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

type entry = resolver.Entry

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "12") // those that run at a time wait for an engine, most of the time
	}
	goleak.VerifyTestMain(m)
}

// logged collects log lines.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(bytes.TrimSpace(b)))
	return len(b), nil
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// with returns the lines that contain a text.
func (l *logged) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// troubled is an entry with every field set, with times to the millisecond.
func troubled() entry {
	at := storetest.Clock().Add(123 * time.Millisecond)
	e := storetest.Entry(1, at)
	e.Failures = resolver.FetchFailures{Count: 3, ID: "20260101", Since: at, RetryAt: at.Add(time.Hour), Reason: "HTTPS: certificate expired"}
	return e
}
