package tlspolicy_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// lateLog formats its lines only when they are read, as a handler with a goroutine of its own would.
type lateLog struct {
	mu      *sync.Mutex
	records *[]slog.Record
}

func newLateLog() lateLog { return lateLog{&sync.Mutex{}, &[]slog.Record{}} }

func (l lateLog) Enabled(context.Context, slog.Level) bool { return true }
func (l lateLog) WithAttrs([]slog.Attr) slog.Handler       { panic("not expected") }
func (l lateLog) WithGroup(string) slog.Handler            { panic("not expected") }

func (l lateLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.records = append(*l.records, r.Clone())
	return nil
}

func (l lateLog) lines() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	h := slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})
	for _, r := range *l.records {
		_ = h.Handle(context.Background(), r)
	}
	return b.String()
}

// asker asks as a connection does: the request's bytes are overwritten after the reply.
type asker struct {
	t       *testing.T
	handler *tlspolicy.Handler
	buffer  []byte
}

func (a *asker) ask(ctx context.Context, maps, key string) socketmap.Reply {
	a.t.Helper()
	a.buffer = append(append(a.buffer[:0], maps...), key...)
	reply := a.handler.ServeSocketmap(ctx, socketmap.Request{Map: a.buffer[:len(maps)], Key: a.buffer[len(maps):]})
	for i := range a.buffer {
		a.buffer[i] = 'x'
	}
	return reply
}

// TestNothingKeepsTheRequest asks questions of every kind and overwrites the request's bytes after each. No name that
// was kept or is used later may change.
func TestNothingKeepsTheRequest(t *testing.T) {
	for _, c := range []struct {
		why, maps, key, domain string
		lookups                int // of the TXT record, in all
	}{
		{"a new policy, then its check in the background", "sts", "a.example.com", "a.example.com", 2},
		{"the same for a smart host", "sts", "[b.example.com]:587", "b.example.com", 2},
		{"in another spelling", "sts", "C.Example.com.", "c.example.com", 2},
		{"with DANE, looked up and then renewed", "sts+dane", "d.example.com:587", "d.example.com", 2},
		{"with shadow", "sts+shadow", "e.example.com", "e.example.com", 2},
		{"overridden, and still learnt", "sts", "ignored.example.com", "ignored.example.com", 2},
		{"overridden from above", "sts", "f.partner.test", "f.partner.test", 1},
		{"no policy", "sts", "nothing.example.net", "nothing.example.net", 1},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newLateLog()
				w := &world{log: log}
				h, service, memory := w.handler(t, resolver.Settings{Overrides: overrides(t)})
				a := &asker{t: t, handler: h}
				first := a.ask(t.Context(), c.maps, c.key)
				synctest.Wait()
				<-time.After(6 * time.Minute) // for checks of the id and for DANE
				if again := a.ask(t.Context(), c.maps, c.key); again != first {
					t.Errorf("first %v, then %v", first, again)
				}
				synctest.Wait()
				service.Close()
				checkNames(t, w, dnsname.MustParse(c.domain), c.lookups)
				for held := range memory.All() {
					if held.Entry().Domain.String() != c.domain {
						t.Errorf("memory holds %q", held.Entry().Domain)
					}
				}
				if _, absent := memory.Negative(dnsname.MustParse(c.domain)); absent != strings.Contains(c.why,
					"no policy") && !strings.HasSuffix(c.domain, ".test") {
					t.Errorf("a negative of the domain is remembered: %v", absent)
				}
				if lines := log.lines(); !strings.Contains(lines, "domain="+c.domain) ||
					strings.Contains(lines, "xxx") {
					t.Errorf("the log has other names:\n%s", lines)
				}
			})
		})
	}
}

// checkNames checks that only the domain was asked for and stored.
func checkNames(t *testing.T, w *world, domain dnsname.Name, lookups int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	own := []string{"_mta-sts." + domain.String(), "_smtp._tls." + domain.String(), domain.String()}
	txts := 0
	for _, name := range w.asked {
		if !slices.Contains(own, name) {
			t.Errorf("the DNS was asked for %q", name)
		}
		if name == own[0] {
			txts++
		}
	}
	if txts != lookups {
		t.Errorf("%d lookups of the TXT record, want %d: %q", txts, lookups, w.asked)
	}
	for name, e := range w.stored {
		if name != domain || e.Domain != domain {
			t.Errorf("%q is stored under %q", e.Domain, name)
		}
	}
}

// TestAbandonedQuestionKeepsItsOwnName: the lookup continues after its question was cancelled.
func TestAbandonedQuestionKeepsItsOwnName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, release := make(chan struct{}), make(chan struct{})
		w := &world{onTXT: func() { close(started); <-release }}
		h, service, memory := w.handler(t, resolver.Settings{})
		a := &asker{t: t, handler: h}
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan socketmap.Reply)
		go func() { answered <- a.ask(ctx, "sts", "mail.example.com") }()
		<-started
		cancel()
		if r := <-answered; r != socketmap.Hangup() {
			t.Errorf("answered %v", r)
		}
		close(release)
		synctest.Wait()
		domain := dnsname.MustParse("mail.example.com")
		if held, ok := memory.Policy(domain); !ok || held.Entry().Domain != domain {
			t.Errorf("memory holds %v, %v", held, ok)
		}
		service.Close()
		checkNames(t, w, domain, 1)
	})
}
