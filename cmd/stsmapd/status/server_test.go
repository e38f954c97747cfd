package status

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadyz(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		ready bool
		code  int
	}{{false, 503}, {true, 200}, {false, 503}} {
		if c.ready {
			f.server.Ready(true)
		} else {
			f.server.Ready(false)
		}
		if code, body, _ := f.get("/readyz"); code != c.code || body == "" {
			t.Errorf("ready %v: %d %q", c.ready, code, body)
		}
	}
}

func TestHealthz(t *testing.T) {
	f := start(t, nil)
	if code, body, _ := f.get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("a daemon that does well: %d %q", code, body)
	}
	if err := f.mail.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.server.opt.Probe.at = time.Time{}
	if code, body, _ := f.get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "refused") {
		t.Errorf("a daemon that does not listen: %d %q", code, body)
	}
}

// TestProbeIsBounded: a daemon that accepts and says nothing is found out within 2 s, and asked once a second at most.
func TestProbeIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := NewProber("inet:" + l.Addr().String())
	begin := time.Now()
	err = p.Probe(t.Context())
	if took := time.Since(begin); err == nil || took < probeLimit || took > probeLimit+5*time.Second {
		t.Errorf("a mute daemon: %v after %v", err, took)
	}
	begin = time.Now()
	if again := p.Probe(t.Context()); again != err || time.Since(begin) > probeLimit/2 {
		t.Errorf("asked again at once: %v after %v", again, time.Since(begin))
	}
}

// TestBusyPages: too many pages at once are refused, and the probes are not.
func TestBusyPages(t *testing.T) {
	f := start(t, nil)
	for range maxPages {
		f.server.pages <- struct{}{}
	}
	if code, body, h := f.get("/policies"); code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || !strings.Contains(body, "Busy") {
		t.Errorf("the ninth page: %d\n%s", code, body)
	}
	for _, path := range []string{"/healthz", "/metrics"} {
		if code, _, _ := f.get(path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// TestSurveysKeepTheirShare: however often somebody asks, a walk that took long is not made again soon.
func TestSurveysKeepTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSurveyor(ctx, nil) // it would panic if it walked
		for _, c := range []struct {
			why       string
			took, age time.Duration
			page      bool
		}{
			{why: "a scrape after 30 s", took: time.Millisecond, age: 30 * time.Second},
			{why: "a page after 1 s", took: time.Millisecond, age: time.Second, page: true},
			{why: "a page after 30 s, of a walk of 1 s", took: time.Second, age: 30 * time.Second, page: true},
			{why: "a scrape after 3 min, of a walk of 2 s", took: 2 * time.Second, age: 3 * time.Minute},
		} {
			s.last = &survey{at: time.Now(), took: c.took}
			<-time.After(c.age)
			got := s.forScrape
			if c.page {
				got = func() *survey { return s.forPage(ctx) }
			}
			if got() != s.last || s.doing != nil {
				t.Errorf("%s: a walk was made", c.why)
			}
		}
		cancel()
		s.wait()
	})
}

func TestTimesForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "now"}, {30 * time.Second, "in 30 s"}, {-90 * time.Second, "1 minute ago"}, {2 * time.Hour, "in 2 hours"},
		{-47 * time.Hour, "1 day ago"}, {400 * day, "in 400 days"},
	} {
		if got := relative(now, now.Add(c.d)); got != c.want {
			t.Errorf("%v: %q, want %q", c.d, got, c.want)
		}
	}
	if relative(now, time.Time{}) != "" || when(time.Time{}) != "never" {
		t.Error("the zero time is never")
	}
}
