package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
)

func TestReadyz(t *testing.T) {
	f := startWeb(t, nil)
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

// TestReadyzTellsOfADeadDNS: questions are answered, so that no balancer should turn away; people read why mail is not
// protected. The status page, the status of the control socket and a metric say the same.
func TestReadyzTellsOfADeadDNS(t *testing.T) {
	f := startWeb(t, nil)
	f.server.Ready(true)
	for _, host := range []string{"a.mute.test", "b.mute.test", "c.mute.test"} {
		f.query("sts", host)
	}
	const problem = "this host cannot look up domains in the DNS since "
	if code, body, _ := f.get("/readyz"); code != 200 ||
		!strings.HasPrefix(body, "ok, but failing:\ndns_dead: "+problem) ||
		!strings.Contains(body, "check the DNS servers (dns.servers, or /etc/resolv.conf)") {
		t.Errorf("/readyz with a dead DNS: %d %q", code, body)
	}
	if _, body, _ := f.get("/"); !strings.Contains(body, problem) {
		t.Errorf("the page does not say that the DNS is dead:\n%s", body)
	}
	if _, body, _ := f.get("/metrics"); !strings.Contains(body, "\nstsmapd_dns_failing 1\n") {
		t.Errorf("the metrics do not say that the DNS is dead:\n%s", body)
	}
	f.query("sts", "good.test")
	if _, body, _ := f.get("/readyz"); body != "ok\n" {
		t.Errorf("/readyz after the end: %q", body)
	}
}

// TestRebinding: a web page whose name leads to the loopback address reads nothing, whatever it asks for.
func TestRebinding(t *testing.T) {
	f := startWeb(t, nil, dailyEntry(t, "secret.test", "enforce", time.Hour, 7*24*time.Hour))
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(f.url, "http://"))
	for _, c := range []struct {
		why, host string
		refused   bool
	}{
		{"the address", "127.0.0.1:" + port, false},
		{"another loopback address, as through a tunnel", "127.0.0.2:9999", false},
		{"IPv6", "[::1]:" + port, false},
		{"IPv6 without a port", "[::1]", false},
		{"localhost", "localhost:" + port, false},
		{"in capitals, with a final dot", "LocalHost.:" + port, false},
		{"a name below localhost (RFC 6761)", "stsmapd.localhost:" + port, false},
		{"the name in the configuration", "Mail.example.test:" + port, false},
		{"HTTP/1.0, which no browser speaks any more", "", false},
		{"another name", "evil.example:" + port, true},
		{"without a port", "evil.example", true},
		{"one that looks local", "localhost.evil.example:" + port, true},
		{"one that looks like an address", "127.0.0.1.evil.example:" + port, true},
		{"a single label", "evil:" + port, true},
	} {
		for _, path := range []string{"/", "/policies", "/domain/secret.test", "/metrics", "/healthz", "/nothing"} {
			conn, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			proto := "HTTP/1.1\r\nHost: " + c.host
			if c.host == "" {
				proto = "HTTP/1.0"
			}
			_, err = io.WriteString(conn, "GET "+path+" "+proto+"\r\nConnection: close\r\n\r\n")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(conn)
			conn.Close()
			if err != nil || len(body) == 0 {
				t.Fatalf("%s, %s: %q, %v", c.why, path, body, err)
			}
			if refused := strings.Contains(string(body), " 421 "); refused != c.refused {
				t.Errorf("%s, %s: %.80q", c.why, path, body)
			}
			if c.refused && (strings.Contains(string(body), "secret") || strings.Contains(string(body), "stsmapd_")) {
				t.Errorf("%s, %s: %q", c.why, path, body)
			}
		}
	}
	// On another address any name is accepted: a firewall or proxy must restrict it.
	r := httptest.NewRequest(http.MethodGet, "http://monitoring.example/", nil)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey,
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9461}))
	if w := f.serveDirect(r); w.Code != http.StatusOK {
		t.Errorf("by a name, at an address of the network: %d", w.Code)
	}
}

func TestHealthz(t *testing.T) {
	f := startWeb(t, nil)
	if code, body, _ := f.get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("a daemon that does well: %d %q", code, body)
	}
	if err := f.mail.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.server.opt.Probe.at = time.Time{}
	if code, body, _ := f.get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "closed") {
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
	p := NewProber(func(ctx context.Context) (*socketmap.Client, error) {
		return socketmap.Dial(ctx, "inet:"+l.Addr().String())
	})
	watch, begin := testkit.StartWatch(t), time.Now()
	err = p.Probe(t.Context())
	if took := time.Since(begin); err == nil || took < probeLimit || took > watch.Limit(2*probeLimit) {
		t.Errorf("a mute daemon: %v after %v", err, took)
	}
	begin = time.Now()
	if again := p.Probe(t.Context()); again != err || time.Since(begin) > watch.Limit(probeLimit/2) {
		t.Errorf("asked again at once: %v after %v", again, time.Since(begin))
	}
}

// TestBusyPages: too many pages at once are refused, and the probes are not.
func TestBusyPages(t *testing.T) {
	f := startWeb(t, nil)
	for range maxPages {
		f.server.pages <- struct{}{}
	}
	if code, body, h := f.get("/policies"); code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" ||
		!strings.Contains(body, "Busy") {
		t.Errorf("the ninth page: %d\n%s", code, body)
	}
	for _, path := range []string{"/healthz", "/metrics"} {
		if code, _, _ := f.get(path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// TestSurveysKeepTheirShare: after a long walk the next one waits, however many requests there are.
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
			if got() != s.last || s.running != nil {
				t.Errorf("%s: a walk was made", c.why)
			}
		}
		cancel()
		s.wait()
	})
}
