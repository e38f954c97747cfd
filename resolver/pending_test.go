package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

var errDisk = errors.New("no space left on device")

// gate is a store whose Puts wait for the test and end as it says.
type gate struct {
	Store // nil: nothing but Put is expected, and a look at what is there
	puts  chan gatePut
}

type gatePut struct {
	entry Entry
	end   chan error
}

func (g gate) Put(_ context.Context, e Entry) error {
	p := gatePut{e, make(chan error)}
	g.puts <- p
	return <-p.end
}

func (gate) Get(context.Context, dnsname.Name) (Entry, error) { return Entry{}, ErrNotCached }

// atOnce stands for Exclusive where nothing else runs.
func atOnce(_ context.Context, _ dnsname.Name, f func()) error { f(); return nil }

// meanwhile runs f and returns a function that waits for its end.
func meanwhile(f func()) (wait func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return func() { <-done }
}

// TestRetryIsNoStepBack: while an old entry is being written once more, a question learns a newer one, which cannot be
// written either. The newer one is what must wait for the disk.
func TestRetryIsNoStepBack(t *testing.T) {
	for _, c := range []struct {
		why         string
		newer, late error // what becomes of writing the newer entry, and of the retry that ends after it
		waits       bool
	}{
		{"the disk stays full", errDisk, errDisk, true},
		{"there was room for the old one", errDisk, nil, true},
		{"there was room for the newer one", nil, errDisk, false},
		{"there is room again", nil, nil, false},
	} {
		t.Run(c.why, func(t *testing.T) {
			g := gate{puts: make(chan gatePut)}
			s := newPendingWrites(g, events{slog.New(slog.DiscardHandler)})
			older := heldPolicy(t, "enforce", time.Hour)
			failed := older.Entry()
			failed.Failures.Count = 1
			newer := NewCachedPolicy(failed, decideAt) // written at the same Fetched, as after a failed refresh

			saved := meanwhile(func() { s.save(t.Context(), older) })
			(<-g.puts).end <- errDisk
			saved()
			retried := meanwhile(func() { s.retry(t.Context(), atOnce) })
			late := <-g.puts
			saved = meanwhile(func() { s.save(t.Context(), newer) })
			(<-g.puts).end <- c.newer
			saved()
			late.end <- c.late
			retried()

			want := newer
			if !c.waits {
				want = nil
			}
			if got := s.unsaved(older.Entry().Domain); got != want {
				t.Errorf("waiting for the disk: %+v, want %+v", got, want)
			}
		})
	}
}

// fails is a store of which every Put ends as err says.
type fails struct {
	Store
	err error
}

func (*fails) Get(context.Context, dnsname.Name) (Entry, error) { return Entry{}, ErrNotCached }

func (f *fails) Put(context.Context, Entry) error { return f.err }

// TestPendingWritesTellTheTruth: only so many entries can wait for a disk; of those beyond nobody may say that they
// were written.
func TestPendingWritesTellTheTruth(t *testing.T) {
	t.Parallel()
	p := policy(t, "enforce", time.Hour)
	room := maxUnsaved / int(NewCachedPolicy(Entry{Policy: p}, decideAt).Bytes())
	for _, c := range []struct {
		why   string
		saved int
		lost  bool
	}{{"all could wait", room, false}, {"one too many", room + 1, true}} {
		var log bytes.Buffer
		store := &fails{err: errDisk}
		s := newPendingWrites(store, events{slog.New(slog.NewTextHandler(&log, nil))})
		for i := range c.saved {
			s.save(t.Context(), NewCachedPolicy(
				Entry{Domain: dnsname.MustParse(fmt.Sprintf("d%d.test", i)), Policy: p, Fetched: decideAt}, decideAt))
		}
		store.err = nil
		s.retry(t.Context(), atOnce)
		if n := strings.Count(log.String(), "event=store_recovered"); n != 1 {
			t.Errorf("%s: %d lines of recovery, want 1:\n%s", c.why, n, log.String())
		}
		if strings.Contains(log.String(), "nothing was lost") == c.lost {
			t.Errorf("%s:\n%s", c.why, log.String())
		}
	}
}
