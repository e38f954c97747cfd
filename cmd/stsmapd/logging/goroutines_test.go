package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestLogGoroutines: a crowd of goroutines at one place is one line, and the one that hangs elsewhere stands before it.
func TestLogGoroutines(t *testing.T) {
	const crowd = 5000
	gate, alone := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() { waitInACrowd(gate) })
	}
	all.Go(func() { waitAlone(alone) })
	var b bytes.Buffer
	testkit.Eventually(t, testkit.Hang, "all goroutines wait", func() bool {
		b.Reset()
		LogGoroutines(slog.New(slog.NewTextHandler(&b, nil)))
		return strings.Contains(b.String(), "count=5000") && strings.Contains(b.String(), "waitAlone")
	})
	close(gate)
	close(alone)
	all.Wait()
	text := b.String()
	if n := strings.Count(text, "waitInACrowd"); n != 1 {
		t.Errorf("%d lines of the crowd, want 1:\n%s", n, text)
	}
	if strings.Index(text, "waitAlone") > strings.Index(text, "waitInACrowd") || len(text) > 64<<10 ||
		!strings.Contains(text, `stack="cmd/stsmapd/logging.waitAlone < `) {
		t.Errorf("%d bytes:\n%s", len(text), text)
	}
}

//go:noinline
func waitInACrowd(gate <-chan struct{}) { <-gate }

//go:noinline
func waitAlone(gate <-chan struct{}) { <-gate }
