package fetch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	ms    = time.Millisecond
	never = time.Hour // longer than any context of these tests
)

// said is what the DNS says of one family, and when.
type said struct {
	after time.Duration
	addrs []string
	err   string
}

func (s said) answer(ctx context.Context) (a dnsclient.Answer[netip.Addr], err error) {
	if err := testkit.Pause(ctx, s.after); err != nil {
		return a, err
	}
	for _, addr := range s.addrs {
		a.Records = append(a.Records, netip.MustParseAddr(addr))
	}
	if s.err != "" {
		err = errors.New(s.err)
	}
	return a, err
}

// addressDNS knows the addresses of one host. Anything else that it is asked fails the test.
type addressDNS struct {
	t       testing.TB
	host    string
	v6, v4  said
	fail    error // of both lookups; nil: they work
	queries atomic.Int32
}

func (d *addressDNS) check(what, name string) {
	d.queries.Add(1)
	if name != d.host {
		d.t.Errorf("DNS asked for %s %s, expected was %s", what, name, d.host)
	}
}

func (d *addressDNS) A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	if d.check("A", name); d.fail != nil {
		return dnsclient.Answer[netip.Addr]{}, d.fail
	}
	return d.v4.answer(ctx)
}

func (d *addressDNS) AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	if d.check("AAAA", name); d.fail != nil {
		return dnsclient.Answer[netip.Addr]{}, d.fail
	}
	return d.v6.answer(ctx)
}

func (d *addressDNS) TXT(_ context.Context, name string) (a dnsclient.Answer[string], err error) {
	d.t.Errorf("unexpected question: TXT %s", name)
	return a, errors.New("unexpected")
}

func (d *addressDNS) MX(_ context.Context, name string) (a dnsclient.Answer[dnsclient.MX], err error) {
	d.t.Errorf("unexpected question: MX %s", name)
	return a, errors.New("unexpected")
}

func (d *addressDNS) TLSA(_ context.Context, name string) (a dnsclient.Answer[dnsclient.TLSA], err error) {
	d.t.Errorf("unexpected question: TLSA %s", name)
	return a, errors.New("unexpected")
}

// network connects to addresses after the time given, or refuses those in refusing. Anything else fails the test.
type network struct {
	t        testing.TB
	begin    time.Time
	takes    map[string]time.Duration
	refusing map[string]bool

	mu       sync.Mutex
	attempts []string // "address@time"
	open     map[string]bool
}

func (n *network) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	addr := to.Addr().String()
	n.mu.Lock()
	n.attempts = append(n.attempts, fmt.Sprintf("%s@%v", addr, time.Since(n.begin)))
	n.mu.Unlock()
	takes, ok := n.takes[addr]
	if !ok || to.Port() != 443 {
		n.t.Errorf("unexpected connection to %s", to)
	}
	if err := testkit.Pause(ctx, takes); err != nil {
		return nil, err
	}
	if n.refusing[addr] {
		return nil, fmt.Errorf("%s refuses", addr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open[addr] = true
	return &networkConn{n: n, addr: addr}, nil
}

// tried returns the attempts in order; all that is under way has come to rest then.
func (n *network) tried() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.attempts)
}

func (n *network) left() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.open))
}

type networkConn struct {
	net.Conn
	n    *network
	addr string
}

func (c *networkConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	delete(c.n.open, c.addr)
	return nil
}

const (
	six1, six2   = "2a00::1", "2a00::2"
	four1, four2 = "5.0.0.1", "5.0.0.2"
)

// TestDialRace holds RFC 8305 as far as a policy host needs it, to the millisecond of a fake clock.
func TestDialRace(t *testing.T) {
	const limit = 30 * time.Second
	for _, c := range []struct {
		why      string
		v6, v4   said
		takes    map[string]time.Duration
		refusing map[string]bool
		attempts string // "address@time ..."
		want     string // address
		at       time.Duration
	}{
		{"IPv6 first, and nothing else while it is fast enough", said{addrs: []string{six1}},
			said{addrs: []string{four1}},
			map[string]time.Duration{six1: 200 * ms}, nil, "2a00::1@0s", six1, 200 * ms},
		{"a dead IPv6 address costs 250 ms", said{addrs: []string{six1}}, said{addrs: []string{four1}},
			map[string]time.Duration{six1: never, four1: 10 * ms}, nil, "2a00::1@0s 5.0.0.1@250ms", four1, 260 * ms},
		{"a refused one costs nothing", said{addrs: []string{six1}}, said{addrs: []string{four1}},
			map[string]time.Duration{six1: ms, four1: ms}, map[string]bool{six1: true}, "2a00::1@0s 5.0.0.1@1ms", four1,
			2 * ms},
		{"a slow IPv6 address may still win", said{addrs: []string{six1}}, said{addrs: []string{four1}},
			map[string]time.Duration{six1: 300 * ms, four1: 100 * ms}, nil, "2a00::1@0s 5.0.0.1@250ms", six1, 300 * ms},
		{"a hanging AAAA lookup costs 50 ms", said{after: never}, said{after: 5 * ms, addrs: []string{four1}},
			map[string]time.Duration{four1: ms}, nil, "5.0.0.1@55ms", four1, 56 * ms},
		{"AAAA a little after A still goes first", said{after: 30 * ms, addrs: []string{six1}},
			said{addrs: []string{four1}},
			map[string]time.Duration{six1: ms}, nil, "2a00::1@30ms", six1, 31 * ms},
		{"AAAA late is tried in its turn", said{after: 100 * ms, addrs: []string{six1}},
			said{addrs: []string{four1, four2}},
			map[string]time.Duration{four1: never, six1: ms}, nil, "5.0.0.1@50ms 2a00::1@300ms", six1, 301 * ms},
		{"AAAA denied: IPv4 need not wait", said{after: 10 * ms}, said{addrs: []string{four1}},
			map[string]time.Duration{four1: ms}, nil, "5.0.0.1@10ms", four1, 11 * ms},
		{"AAAA failed: the same", said{after: 10 * ms, err: "SERVFAIL"}, said{addrs: []string{four1}},
			map[string]time.Duration{four1: ms}, nil, "5.0.0.1@10ms", four1, 11 * ms},
		{"a hanging A lookup costs nothing", said{addrs: []string{six1}}, said{after: never},
			map[string]time.Duration{six1: ms}, nil, "2a00::1@0s", six1, ms},
		{"A late, IPv6 dead", said{addrs: []string{six1}}, said{after: 400 * ms, addrs: []string{four1}},
			map[string]time.Duration{six1: never, four1: ms}, nil, "2a00::1@0s 5.0.0.1@400ms", four1, 401 * ms},
		{"A late, IPv6 refused", said{addrs: []string{six1}}, said{after: 100 * ms, addrs: []string{four1}},
			map[string]time.Duration{six1: 0, four1: ms}, map[string]bool{six1: true}, "2a00::1@0s 5.0.0.1@100ms",
			four1, 101 * ms},
		{"A failed", said{after: 20 * ms, addrs: []string{six1}}, said{err: "SERVFAIL"},
			map[string]time.Duration{six1: ms}, nil, "2a00::1@20ms", six1, 21 * ms},
		{"families take turns", said{addrs: []string{six1, six2}}, said{addrs: []string{four1, four2}},
			map[string]time.Duration{six1: never, four1: never, six2: never, four2: ms}, nil,
			"2a00::1@0s 5.0.0.1@250ms 2a00::2@500ms 5.0.0.2@750ms", four2, 751 * ms},
		{"the winner takes all: the other connection, made in the same instant, is closed", said{addrs: []string{six1}},
			said{addrs: []string{four1}}, map[string]time.Duration{six1: 300 * ms, four1: 50 * ms}, nil,
			"2a00::1@0s 5.0.0.1@250ms", "any", 300 * ms},
		{"a private address beside a public one is passed over", said{addrs: []string{"::1", six1}},
			said{addrs: []string{"10.0.0.1"}},
			map[string]time.Duration{six1: ms}, nil, "2a00::1@0s", six1, ms},
		{"a mapped IPv4 address is an IPv4 address", said{addrs: []string{"::ffff:5.0.0.1", "::ffff:127.0.0.1"}},
			said{},
			map[string]time.Duration{four1: ms}, nil, "5.0.0.1@0s", four1, ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{t: t, begin: time.Now(), takes: c.takes, refusing: c.refusing, open: map[string]bool{}}
			d := testDialer(t, n, c.v6, c.v4)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			conn, err := dial(ctx, d, 443)
			if err != nil {
				t.Fatalf("%s: %v", c.why, err)
			}
			if got := strings.Join(n.tried(), " "); got != c.attempts {
				t.Errorf("%s: attempts %s, want %s", c.why, got, c.attempts)
			}
			if got := conn.(*networkConn).addr; got != c.want && c.want != "any" {
				t.Errorf("%s: connected to %s, want %s", c.why, got, c.want)
			}
			if at := time.Since(n.begin); at != c.at {
				t.Errorf("%s: connected after %v, want %v", c.why, at, c.at)
			}
			conn.Close()
			if left := n.left(); len(left) > 0 { // a goroutine left would fail the bubble's end
				t.Errorf("%s: connections left open: %v", c.why, left)
			}
		})
	}
}

// dial connects to the policy host by a race that wants no more than a connection.
func dial(ctx context.Context, d *dialer, port uint16) (net.Conn, error) {
	try := func(ctx context.Context, to netip.AddrPort, connected func()) (net.Conn, *failure) {
		c, err := d.connect(ctx, to)
		if err != nil {
			return nil, &failure{stage: "connect to", host: to.String(), kind: Unreachable, err: stopped(ctx, ctx, err)}
		}
		connected()
		return c, nil
	}
	c, failed := newRace(d, "mta-sts.example.test", port, try, func(c net.Conn) { c.Close() }).run(ctx)
	if failed != nil {
		return nil, newError(fetchDomain(), failed)
	}
	return c, nil
}

func testDialer(t testing.TB, n *network, v6, v4 said) *dialer {
	dns := &addressDNS{t: t, host: "mta-sts.example.test", v6: v6, v4: v4}
	return &dialer{dns: dns, filter: newAddressFilter(), connect: n.connect, hasIPv6: func() bool { return true }}
}

// TestDialWithoutIPv6: a host without IPv6 asks for IPv4 addresses alone, and waits for nothing else.
func TestDialWithoutIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, begin: time.Now(), takes: map[string]time.Duration{"5.0.0.1": 0}, open: map[string]bool{}}
		d := testDialer(t, n, said{addrs: []string{"2a00::1"}}, said{addrs: []string{"5.0.0.1"}})
		d.hasIPv6 = func() bool { return false }
		conn, err := dial(t.Context(), d, 443)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if asked, at := d.dns.(*addressDNS).queries.Load(), time.Since(n.begin); asked != 1 || at != 0 {
			t.Errorf("%d DNS questions and a connection after %v, want one question and no wait", asked, at)
		}
		d = testDialer(t, n, said{addrs: []string{"2a00::1"}}, said{})
		d.hasIPv6 = func() bool { return false }
		if _, err := dial(t.Context(), d, 443); err == nil ||
			!strings.Contains(err.Error(), "no IPv4 address in the DNS, and this host has no IPv6 address") ||
			fault.Of(err) != fault.Host {
			t.Errorf("a host that has only IPv6 addresses: %v", err)
		}
	})
}

// TestDialFails: what an administrator is told, and that nothing goes on for ever.
func TestDialFails(t *testing.T) {
	var many []string
	refuse, takes := map[string]bool{}, map[string]time.Duration{}
	for i := range 20 {
		addr := fmt.Sprintf("5.0.0.%d", i)
		many = append(many, addr)
		refuse[addr], takes[addr] = true, 0
	}
	for _, c := range []struct {
		why      string
		v6, v4   said
		attempts int
		want     string // of the error's text
		at       time.Duration
	}{
		{"no address", said{}, said{}, 0, "mta-sts.example.test: no address in the DNS", 0},
		{"one family denied, the other failed", said{}, said{err: "SERVFAIL"}, 0, "mta-sts.example.test: SERVFAIL", 0},
		{"both failed: both said", said{err: "no answer"}, said{after: ms, err: "SERVFAIL"}, 0,
			"mta-sts.example.test: no answer; " +
				"mta-sts.example.test: SERVFAIL", ms},
		{"private", said{}, said{addrs: []string{"10.0.0.1", "10.0.0.2"}}, 0, "its address 10.0.0.1 is not public", 0},
		{"loopback by a mapped address", said{addrs: []string{"::ffff:127.0.0.1"}}, said{}, 0,
			"its address 127.0.0.1 is not public", 0},
		{"a bounded number of addresses is tried", said{}, said{addrs: many}, maxAddresses, "5.0.0.7 refuses", 0},
		{"the DNS hangs", said{after: never}, said{after: never}, 0, "deadline exceeded", 30 * time.Second},
		{"IPv4 denied, AAAA hangs", said{after: never}, said{}, 0, "deadline exceeded", 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{t: t, begin: time.Now(), takes: takes, refusing: refuse, open: map[string]bool{}}
			d := testDialer(t, n, c.v6, c.v4)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			conn, err := dial(ctx, d, 443)
			if err == nil {
				t.Fatalf("%s: connected to %v", c.why, conn)
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %q, want one line with %q", c.why, err, c.want)
			}
			if tried := n.tried(); len(tried) != c.attempts {
				t.Errorf("%s: attempts %v, want %d", c.why, tried, c.attempts)
			}
			if at := time.Since(n.begin); at != c.at {
				t.Errorf("%s: failed after %v, want %v", c.why, at, c.at)
			}
		})
	}
}

// TestDialManyDeadIPv6: IPv6 addresses, however many and however they fail, never keep from IPv4.
func TestDialManyDeadIPv6(t *testing.T) {
	for _, c := range []struct {
		why   string
		v4    said
		takes time.Duration // of the IPv6 addresses, which then refuse
		at    time.Duration
	}{
		{"no route for IPv6, A late", said{after: 100 * ms, addrs: []string{four1}}, 0, 101 * ms},
		{"no answer from IPv6", said{addrs: []string{four1}}, never, 251 * ms},
		{"no answer from IPv6, A after most have been tried", said{after: 1800 * ms, addrs: []string{four1}}, never,
			2001 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{t: t, begin: time.Now(), takes: map[string]time.Duration{four1: ms},
				refusing: map[string]bool{}, open: map[string]bool{}}
			var v6 []string
			for i := range 50 {
				addr := fmt.Sprintf("2a00::%x", i+1)
				v6 = append(v6, addr)
				n.takes[addr], n.refusing[addr] = c.takes, true
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			conn, err := dial(ctx, testDialer(t, n, said{addrs: v6}, c.v4), 443)
			if err != nil {
				t.Fatalf("%s: %v", c.why, err)
			}
			conn.Close()
			if at := time.Since(n.begin); at != c.at {
				t.Errorf("%s: connected after %v, want %v; %v", c.why, at, c.at, n.tried())
			}
		})
	}
}

// TestDialCancelled: a dial ends in the instant in which its context does, and with it all that it began.
func TestDialCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, begin: time.Now(), takes: map[string]time.Duration{six1: never, four1: never},
			open: map[string]bool{}}
		ctx, cancel := context.WithCancelCause(t.Context())
		closing := errors.New("closing")
		time.AfterFunc(300*ms, func() { cancel(closing) })
		_, err := dial(ctx, testDialer(t, n, said{addrs: []string{six1}}, said{addrs: []string{four1}}), 443)
		if !errors.Is(err, closing) || time.Since(n.begin) != 300*ms {
			t.Errorf("%v after %v, want %v after 300ms", err, time.Since(n.begin), closing)
		}
		if tried := n.tried(); len(tried) != 2 {
			t.Errorf("attempts %v, want 2", tried)
		}
	})
}

// TestDialReal uses real sockets, and the setting that allows them to be here.
func TestDialReal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	dns := &addressDNS{t: t, host: "mta-sts.example.test", v4: said{addrs: []string{"127.0.0.1"}}}
	dialer := func(cfg Config) *dialer {
		d := New(dns, cfg).dialer
		d.hasIPv6 = func() bool { return true } // whatever the machine has
		return d
	}
	if _, err := dial(t.Context(), dialer(Config{}), uint16(port)); err == nil {
		t.Error("connected to a loopback address that nobody allowed")
	}
	local := Config{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	c, err := dial(t.Context(), dialer(local), uint16(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("connected to %v, want %v", c.RemoteAddr(), l.Addr())
	}
	if dns.queries.Load() != 4 {
		t.Errorf("%d questions for two dials of two families each", dns.queries.Load())
	}
}

// TestAllowedNetworks: fetch.allow_private_addresses may be a list of networks, so that the prefix of a NAT64 gateway
// opens nothing else.
func TestAllowedNetworks(t *testing.T) {
	d := &dialer{filter: newAddressFilter(), allowPrivate: []netip.Prefix{
		netip.MustParsePrefix("fd00:64::/96"), netip.MustParsePrefix("10.1.0.0/16")}}
	for _, c := range []struct {
		addr string
		ok   bool
		why  string
	}{
		{"fd00:64::5.0.0.1", true, "the prefix of a NAT64 gateway"},
		{"10.1.2.3", true, "a listed network"},
		{"::ffff:10.1.2.3", true, "the same as a mapped address"},
		{"5.0.0.1", true, "a public address"},
		{"10.2.0.1", false, "a network beside it"},
		{"fd00:65::1", false, "another local IPv6 network"},
		{"127.0.0.1", false, "loopback"},
		{"::1", false, "loopback"},
		{"169.254.169.254", false, "link-local"},
	} {
		ok, refused := d.usable([]netip.Addr{{}, netip.MustParseAddr(c.addr)})
		if (len(ok) == 1) != c.ok || (refused == nil) != c.ok {
			t.Errorf("%s (%s): usable %v, %v", c.why, c.addr, ok, refused)
		}
	}
}
