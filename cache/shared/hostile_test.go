package shared

import (
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// breaches are what ended the process before there was a guard, and a part of what it says of each.
var breaches = []struct{ noise, says string }{
	{"$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n",
		"no command asked for"}, // and where it subscribes: at the first
	{"$-5\r\n", "is no length"},
	{"*-5\r\n", "is no length"},
	{"*2000000000\r\n", "an aggregate of 2000000000 values"},
	{"$10000000000\r\n", "a string of 10000000000 bytes"},
}

// breached is a host whose engine breaks the protocol at its place.
type breached struct {
	*testHost
	engine  *enginetest.Engine // the real one
	hostile *enginetest.Hostile
	stop    func()
	says    string
	begin   time.Time
}

// TestHostile: an engine breaks the protocol at each of its connections. The process lives and continues with the local
// store, says why, and does not connect in a storm; when a real engine has the address, all is well.
func TestHostile(t *testing.T) {
	t.Parallel()
	named := func(names ...string) func(int, []string) bool {
		return func(_ int, words []string) bool {
			for _, name := range names {
				if strings.EqualFold(words[0], name) {
					return true
				}
			}
			return false
		}
	}
	for _, c := range []struct {
		why   string
		at    func(i int, words []string) bool
		resp2 bool
		well  bool // the engine is well but for the subscription
	}{
		{why: "before any command"},
		{why: "at the start", at: named("HELLO")},
		{why: "at the first command", at: named("GET")},
		{why: "in the middle of pipelining",
			at: func(i int, words []string) bool { return i > 3 && named("GET", "EVALSHA")(i, words) }},
		{why: "where it subscribes", at: named("SUBSCRIBE")},
		{why: "on the connection that subscribes by RESP2", at: named("SUBSCRIBE"), resp2: true, well: true},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			var hosts []breached
			for _, b := range breaches {
				e := enginetest.Start(t, enginetest.Redis(t))
				e.Kill()
				h := &enginetest.Hostile{At: c.at, Noise: b.noise, RESP2: c.resp2}
				stop := h.Listen(t, e.Addr())
				begin := time.Now()
				host := open(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()), Budget: generous})
				hosts = append(hosts, breached{host, e, h, stop, b.says, begin})
			}
			for i, h := range hosts {
				h.suffers(t, c.well, i > 0 && !c.well)
			}
			for _, h := range hosts {
				h.stop()
				h.engine.Restart()
			}
			for _, h := range hosts {
				h.recovers(t)
			}
		})
	}
}

// suffers waits until the engine has broken the protocol again and again, and looks at what the host does.
func (h breached) suffers(t *testing.T, well, exact bool) {
	t.Helper()
	testkit.Eventually(t, patience, "the engine breaks the protocol at a connection made later", func() bool {
		h.Find(t.Context(), storetest.Domain(1)) // questions go on
		return h.hostile.Sent() >= 2
	})
	testkit.Eventually(t, patience, "a line tells of the protocol",
		func() bool { return len(h.log.Lines("event=shared_protocol")) == 1 })
	if line := h.log.Lines("event=shared_protocol")[0]; exact && !strings.Contains(line, h.says) {
		t.Errorf("%s; want %q", line, h.says)
	}
	if !well {
		testkit.Eventually(t, patience, "a line tells that the host continues with the local store",
			func() bool { return len(h.log.Lines("event=shared_failing")) > 0 })
		if line := h.log.Lines("event=shared_failing")[0]; !strings.Contains(line,
			"cannot reach the shared engine; continuing with the local store") ||
			exact && !strings.Contains(line, "broke the protocol") {
			t.Error(line)
		}
		h.awaitFailing(t)
		if got := h.Claim(t.Context(), storetest.Domain(2), first); got.State != resolver.ClaimAlone {
			t.Errorf("a claim was granted: %+v", got)
		}
	}
	took := time.Since(h.begin)
	if most := 10 + 2*int64(took/time.Second); h.hostile.Connections() > most {
		t.Errorf("%d connections in %v", h.hostile.Connections(), took)
	}
}

// recovers waits until the host uses the real engine, which has the address by now.
func (h breached) recovers(t *testing.T) {
	t.Helper()
	entry := fresh(1)
	testkit.Eventually(t, 2*patience, "the real engine is used", func() bool {
		h.Share(t.Context(), entry)
		return h.has(t, entry)
	})
	other := open(t, Options{Endpoint: h.Fleet.engine.endpoint})
	other.awaitWell(t)
	testkit.Eventually(t, 2*patience, "the host hears what another tells", func() bool {
		other.Share(t.Context(), fresh(999_999))
		select {
		case <-h.heard:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	h.awaitWell(t)
}
