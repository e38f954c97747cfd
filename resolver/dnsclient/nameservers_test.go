package dnsclient

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// clock is a clock that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// onClock gives the client a clock that stands still at the time when the client read its file.
func onClock(c *Client) *clock {
	k := &clock{now: c.nameservers.start}
	c.nameservers.nextCheck.Store(int64(checkInterval))
	c.nameservers.now = k.time
	return k
}

func TestServersInTurn(t *testing.T) {
	type hooks []dnstest.Hook
	for _, tc := range []struct {
		why      string
		attempts int
		first    hooks
		second   hooks // nil: there is no second server
		asked    []int // how often each was asked
		kind     Kind  // 0: answered
	}{
		{"the first answers", 3, hooks{dnstest.Answer}, hooks{dnstest.Answer}, []int{1, 0}, 0},
		{"the first fails", 3, hooks{dnstest.ServFail}, hooks{dnstest.Answer}, []int{1, 1}, 0},
		{"the first refuses", 3, hooks{dnstest.Rcode(dns.RcodeRefused)}, hooks{dnstest.Answer}, []int{1, 1}, 0},
		{"the first is silent", 3, hooks{dnstest.Drop}, hooks{dnstest.Answer}, []int{1, 1}, 0},
		{"the first refers", 3, hooks{referral("com NS a.gtld.example")}, hooks{dnstest.Answer}, []int{1, 1}, 0},
		{"the first sends garbage", 3, hooks{dnstest.Raw(func(b []byte) []byte { return b[:len(b)-20] })},
			hooks{dnstest.Answer}, []int{1, 1}, 0},
		{"a denial is an answer", 3, hooks{dnstest.Records("")}, hooks{dnstest.Answer}, []int{1, 0}, 0},
		{"the first again after the second", 3, hooks{dnstest.ServFail, dnstest.Answer}, hooks{dnstest.ServFail},
			[]int{2, 1}, 0},
		{"attempts are counted over both", 3, hooks{dnstest.ServFail}, hooks{dnstest.ServFail}, []int{2, 1},
			ServerFailure},
		{"one attempt, but each server is asked once", 1, hooks{dnstest.ServFail}, hooks{dnstest.Answer}, []int{1, 1},
			0},
		{"one server, again", 3, hooks{dnstest.ServFail, dnstest.ServFail, dnstest.Answer}, nil, []int{3}, 0},
		{"one server, lost packet", 2, hooks{dnstest.Drop, dnstest.Answer}, nil, []int{2}, 0},
		{"one server, one attempt", 1, hooks{dnstest.ServFail, dnstest.Answer}, nil, []int{1}, ServerFailure},
	} {
		t.Run(tc.why, func(t *testing.T) {
			t.Parallel()
			var servers []*dnstest.Server
			cfg := Config{Attempts: tc.attempts, Timeout: mediumTimeout}
			for _, h := range []hooks{tc.first, tc.second} {
				if h != nil {
					srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
					srv.On(asked, dns.TypeTXT, h...)
					servers = append(servers, srv)
					cfg.Servers = append(cfg.Servers, srv.Addr())
				}
			}
			_, err := newClient(t, cfg).TXT(t.Context(), asked)
			if tc.kind != 0 {
				checkKind(t, err, tc.kind)
			} else if err != nil {
				t.Error(err)
			}
			var got []int
			for _, srv := range servers {
				got = append(got, srv.Count(asked, dns.TypeTXT))
			}
			if !slices.Equal(got, tc.asked) {
				t.Errorf("the servers were asked %v times, want %v", got, tc.asked)
			}
		})
	}
}

func TestDeadServerIsAvoided(t *testing.T) {
	dead := dnstest.New(t, dnstest.Config{Zone: zoneOne})
	dead.On("*", dns.TypeANY, dnstest.Drop)
	alive := dnstest.New(t, dnstest.Config{Zone: zoneOne})
	c := newClient(t, Config{Servers: []string{dead.Addr(), alive.Addr()}, Timeout: mediumTimeout})
	k := onClock(c)
	steps := []struct {
		why         string
		wait        time.Duration
		revive      bool
		dead, alive int // questions in all
	}{
		{"found dead", 0, false, 1, 1},
		{"avoided", 0, false, 1, 2},
		{"still avoided", avoidTime - time.Second, false, 1, 3},
		{"tried again", time.Second, false, 2, 4},
		{"avoided again", avoidTime - time.Second, false, 2, 5},
		{"it answers again", time.Second, true, 3, 5},
		{"and is first again", 0, false, 4, 5},
	}
	for _, tc := range steps {
		k.advance(tc.wait)
		if tc.revive {
			dead.On("*", dns.TypeANY)
		}
		got, err := c.TXT(t.Context(), asked)
		check(t, got, err, answerOne)
		if d, a := dead.Total(), alive.Total(); d != tc.dead || a != tc.alive {
			t.Errorf("%s: %d questions to the first and %d to the second, want %d and %d", tc.why, d, a, tc.dead,
				tc.alive)
		}
	}
}

func TestOnlyOneTriesADeadServer(t *testing.T) {
	c := newClient(t, Config{Servers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}})
	k := onClock(c)
	servers := c.nameservers.list().servers
	first := func() string { return c.nameservers.order()[0].addr.Addr().String() }

	c.nameservers.recordResult(servers[0], &Error{Kind: Timeout})
	k.advance(avoidTime)
	if got := []string{first(), first(), first()}; !slices.Equal(got, []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"}) {
		t.Errorf("asked first: %v, want one try of the first server", got)
	}
	c.nameservers.recordResult(servers[1], &Error{Kind: Network})
	if got := first(); got != "192.0.2.3" {
		t.Errorf("asked first: %v, want the last that is not avoided", got)
	}
	c.nameservers.recordResult(servers[2], &Error{Kind: Timeout})
	if got := first(); got != "192.0.2.1" {
		t.Errorf("asked first: %v, want the order of the configuration when all are avoided", got)
	}
	for _, kind := range []Kind{Cancelled, Lame} {
		c.nameservers.recordResult(servers[1], nil)
		c.nameservers.recordResult(servers[1], &Error{Kind: kind})
		if got := first(); got != "192.0.2.2" {
			t.Errorf("asked first after %v: %v, want 192.0.2.2", kind, got)
		}
	}
}

// file is a resolv.conf that a test rewrites.
type file struct {
	t    *testing.T
	path string
	now  time.Time // mtime of the next write
}

func newFile(t *testing.T) *file {
	return &file{t, filepath.Join(t.TempDir(), "resolv.conf"), time.Unix(1_700_000_000, 0)}
}

// write replaces the file's text in place, with a new mtime.
func (f *file) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.now = f.now.Add(time.Second)
	f.touch(f.now)
}

func (f *file) touch(at time.Time) {
	f.t.Helper()
	if err := os.Chtimes(f.path, at, at); err != nil {
		f.t.Fatal(err)
	}
}

func TestResolvConfIsReadAgain(t *testing.T) {
	f := newFile(t)
	f.write("nameserver 192.0.2.1\n")
	c := newClient(t, Config{ResolvConf: f.path})
	k := onClock(c)
	for _, tc := range []struct {
		why     string
		change  func()
		wait    time.Duration
		want    string
		problem string // with resolv.conf; "" for none
	}{
		{"read at the start", func() {}, 0, "192.0.2.1:53", ""},
		{"not checked within the second", func() { f.write("nameserver 192.0.2.2\n") }, checkInterval - 1,
			"192.0.2.1:53",
			""},
		{"after it: a new mtime", func() {}, 1, "192.0.2.2:53", ""},
		{"and not again within the second", func() { f.write("nameserver 192.0.2.3\n") }, checkInterval - 1,
			"192.0.2.2:53",
			""},
		{"but after it", func() {}, 1, "192.0.2.3:53", ""},
		{"a new size", func() { f.write("nameserver 192.0.2.33\n"); f.touch(f.now.Add(-time.Second)) }, checkInterval,
			"192.0.2.33:53", ""},
		{"a new inode of the same size and mtime", func() {
			at := f.now.Add(-time.Second)
			other := &file{t, f.path + ".new", at.Add(-time.Second)}
			other.write("nameserver 192.0.2.44\n")
			if err := os.Rename(other.path, f.path); err != nil {
				t.Fatal(err)
			}
		}, checkInterval, "192.0.2.44:53", ""},
		{"emptied: the servers stay", func() { f.write("") }, checkInterval, "192.0.2.44:53", "names no nameserver"},
		{"invalid", func() { f.write("nameserver nonsense\n") }, checkInterval, "192.0.2.44:53",
			`line 1 ignored: dns server "nonsense"`},
		{"removed", func() { _ = os.Remove(f.path) }, checkInterval, "192.0.2.44:53", "no such file"},
		{"created again", func() { f.write("nameserver 192.0.2.8\n") }, checkInterval, "192.0.2.8:53", ""},
		{"renamed away", func() { _ = os.Rename(f.path, f.path+".old") }, checkInterval, "192.0.2.8:53",
			"no such file"},
		{"and back: no error remains", func() { _ = os.Rename(f.path+".old", f.path) }, checkInterval, "192.0.2.8:53",
			""},
		{"removed again", func() { _ = os.Remove(f.path) }, checkInterval, "192.0.2.8:53", "no such file"},
		{"a directory", func() { _ = os.Mkdir(f.path, 0o700) }, checkInterval, "192.0.2.8:53", "not a regular file"},
		{"endless", func() {
			_ = os.Remove(f.path)
			f.write("nameserver 192.0.2.5\n" +
				strings.Repeat("#", maxResolvConf))
		}, checkInterval, "192.0.2.8:53", "longer than"},
		{"good again", func() { f.write("nameserver 192.0.2.6\nnameserver 2001:db8::1") }, checkInterval,
			"192.0.2.6:53 [2001:db8::1]:53", ""},
		{"partly good", func() { f.write("nameserver 192.0.2.7\nnameserver") }, checkInterval, "192.0.2.7:53",
			"line 2 ignored: nameserver without an address"},
	} {
		tc.change()
		k.advance(tc.wait)
		if got := strings.Join(c.Servers(), " "); got != tc.want {
			t.Errorf("%s: servers %q, want %q", tc.why, got, tc.want)
		}
		problem := ""
		if err := c.nameservers.list().problem; err != nil {
			problem = err.Error()
			if !strings.Contains(problem, f.path) {
				t.Errorf("%s: %q does not name the file", tc.why, problem)
			}
		}
		if (problem == "") != (tc.problem == "") || !strings.Contains(problem, tc.problem) {
			t.Errorf("%s: problem %q, want %q", tc.why, problem, tc.problem)
		}
	}
}

func TestConcurrentLookups(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Zone: "*.example.com TXT x"})
	f := newFile(t)
	f.write("nameserver " + srv.Addr())
	c := newClient(t, Config{ResolvConf: f.path})
	k := onClock(c)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			k.advance(checkInterval / 10)
			got, err := c.TXT(t.Context(), fmt.Sprintf("d%d.example.com", i))
			check(t, got, err, Answer[string]{Records: []string{"x"}, TTL: 300 * time.Second})
		})
	}
	f.write("nameserver " + srv.Addr() + "\n# changed meanwhile\n")
	wg.Wait()
	if n := srv.Total(); n != 100 {
		t.Errorf("%d questions for 100 lookups", n)
	}
}

func TestMissingResolvConf(t *testing.T) {
	f := newFile(t)
	c := newClient(t, Config{ResolvConf: f.path})
	k := onClock(c)
	if got := c.Servers(); !slices.Equal(got, []string{"127.0.0.1:53"}) {
		t.Errorf("servers %v, want that of libc", got)
	}
	if err := c.nameservers.list().problem; err == nil || !strings.Contains(err.Error(), "127.0.0.1:53") {
		t.Errorf("got %v, want what is asked instead", err)
	}
	f.write("nameserver 192.0.2.1")
	k.advance(checkInterval)
	if got := c.Servers(); !slices.Equal(got, []string{"192.0.2.1:53"}) {
		t.Errorf("servers %v, want those of the new file", got)
	}
}

func TestResolvConfTrust(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, AD: true})
	_, port, _ := strings.Cut(srv.Addr(), ":")
	f := newFile(t)
	f.write("nameserver 0.0.0.0:" + port) // the same server, by another address than loopback
	c := newClient(t, Config{ResolvConf: f.path, TrustAD: true})
	k := onClock(c)
	for _, tc := range []struct {
		why, text string
		want      bool
	}{
		{"Config.TrustAD does not apply to the servers of a file", "", false},
		{"trust-ad", "nameserver 0.0.0.0:" + port + "\noptions edns0 trust-ad", true},
		{"no longer", "nameserver 0.0.0.0:" + port, false},
		{"loopback", "nameserver 127.0.0.1:" + port, true},
	} {
		if tc.text != "" {
			f.write(tc.text)
			k.advance(checkInterval)
		}
		got, err := c.TXT(t.Context(), asked)
		if err != nil || got.Authentic != tc.want || c.AuthenticServers() != tc.want {
			t.Errorf("%s: authentic %v, %v, AuthenticServers %v, want %v", tc.why, got.Authentic, err,
				c.AuthenticServers(), tc.want)
		}
	}
}

func TestAvoidanceOutlivesTheFile(t *testing.T) {
	f := newFile(t)
	f.write("nameserver 192.0.2.1\nnameserver 192.0.2.2")
	c := newClient(t, Config{ResolvConf: f.path})
	k := onClock(c)
	c.nameservers.recordResult(c.nameservers.list().servers[0], &Error{Kind: Timeout})
	f.write("nameserver 192.0.2.1\nnameserver 192.0.2.3")
	k.advance(checkInterval)
	if got := c.nameservers.order()[0].addr.Addr().String(); got != "192.0.2.3" {
		t.Errorf("asked first: %s, want the server that is not avoided", got)
	}
}
