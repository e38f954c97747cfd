package tlspolicy_test

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// world is the DNS, the policy hosts and the store of a daemon: every name under example.com has a policy, no other
// name has one, and no MX host has TLSA records.
type world struct {
	mu     sync.Mutex
	stored map[dnsname.Name]resolver.Entry
	asked  []string // names of DNS questions
	log    slog.Handler
	onTXT  func() // called in each lookup of a TXT record, unless nil
}

func (w *world) note(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, name)
}

const policyText = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmx: *.example.net\nmax_age: 604800\n"

func (w *world) TXT(_ context.Context, name string) (dnsclient.Answer[string], error) {
	if w.onTXT != nil {
		w.onTXT()
	}
	w.note(name)
	if strings.HasSuffix(name, ".example.com") {
		return dnsclient.Answer[string]{Records: []string{"v=STSv1; id=1"}, TTL: time.Hour}, nil
	}
	return dnsclient.Answer[string]{Denial: dnsclient.NXDomain, TTL: time.Hour}, nil
}

func (w *world) A(context.Context, string) (dnsclient.Answer[netip.Addr], error) {
	return dnsclient.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, TTL: time.Hour}, nil
}

func (w *world) AAAA(context.Context, string) (dnsclient.Answer[netip.Addr], error) {
	return dnsclient.Answer[netip.Addr]{Denial: dnsclient.NoData, TTL: time.Hour}, nil
}

func (w *world) MX(_ context.Context, name string) (dnsclient.Answer[dnsclient.MX], error) {
	w.note(name)
	return dnsclient.Answer[dnsclient.MX]{Records: []dnsclient.MX{{Host: "mx1.example.com"}}, TTL: time.Hour}, nil
}

func (w *world) TLSA(context.Context, string) (dnsclient.Answer[dnsclient.TLSA], error) {
	return dnsclient.Answer[dnsclient.TLSA]{Denial: dnsclient.NXDomain, TTL: time.Hour}, nil
}

func (w *world) Fetch(context.Context, dnsname.Name) (mtasts.Policy, error) {
	return mtasts.ParsePolicy([]byte(policyText))
}

func (w *world) Get(_ context.Context, domain dnsname.Name) (resolver.Entry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, ok := w.stored[domain]; ok {
		return e, nil
	}
	return resolver.Entry{}, resolver.ErrNotCached
}

func (w *world) Put(_ context.Context, e resolver.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored[e.Domain] = e
	return nil
}

func (w *world) Delete(_ context.Context, domain dnsname.Name) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.stored, domain)
	return nil
}

func (w *world) All(context.Context) iter.Seq2[resolver.Entry, error] {
	return func(func(resolver.Entry, error) bool) {}
}

// Len implements resolver.Store.
func (w *world) Len() int { return 0 }

// handler returns the handler, service and memory of a daemon.
func (w *world) handler(tb testing.TB, settings resolver.Settings) (*tlspolicy.Handler, *resolver.Service,
	*memorytest.Memory) {
	tb.Helper()
	w.stored = map[dnsname.Name]resolver.Entry{}
	if w.log == nil {
		w.log = slog.DiscardHandler
	}
	settings.DNS, settings.Fetcher = w, w
	memory := memorytest.New()
	service := resolver.NewService(resolver.Options{
		Settings: settings, Store: w, Memory: memory, DANEMemory: &memorytest.Findings{}, Now: resolver.WallClock,
		Logger: slog.New(w.log),
	})
	tb.Cleanup(service.Close)
	return tlspolicy.NewHandler(service, slog.New(w.log)), service, memory
}

type known struct{ why, maps, key, answer string }

// questions returns questions that allocate once at most when their answer is known.
func questions() []known {
	const secure = "OK secure match=mx1.example.com:.example.net servername=hostname"
	const tlsrpt = " policy_type=sts policy_domain=mail.example.com mx_host_pattern=mx1.example.com " +
		"mx_host_pattern=*.example.net" +
		" { policy_string = version: STSv1 } { policy_string = mode: enforce }" +
		" { policy_string = mx: mx1.example.com } { policy_string = mx: *.example.net }" +
		" { policy_string = max_age: 604800 }"
	return []known{
		{"a live policy", "sts", "mail.example.com", secure},
		{"a live policy with its attributes", "sts+tlsrpt", "mail.example.com", secure + tlsrpt},
		{"a live policy where DANE is known", "sts+dane", "mail.example.com", secure},
		{"another daemon's map name", "QUERY", "mail.example.com", secure},
		{"a smart host", "sts", "[mail.example.com]", secure},
		{"a domain with a port", "sts", "mail.example.com:587", secure},
		{"a live policy, overridden", "sts", "ignored.example.com", "NOTFOUND "},
		{"no policy", "sts", "nothing.example.net", "NOTFOUND "},
		{"a parent domain", "sts", ".example.com", "NOTFOUND "},
		{"an address", "sts", "[192.0.2.1]", "NOTFOUND "},
	}
}

func overrides(tb testing.TB) *resolver.Overrides {
	tb.Helper()
	set, err := resolver.NewOverrides([]resolver.Override{
		{Domain: dnsname.MustParse("ignored.example.com"), Action: resolver.ActionIgnore},
		{Domain: dnsname.MustParse("partner.test"), Below: true, Action: resolver.ActionStrict},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// TestKnownAnswersAllocateOnce: an answer out of memory allocates once, for the name. The test asks over a real
// connection, of a server with handler and service.
func TestKnownAnswersAllocateOnce(t *testing.T) {
	h, _, _ := (&world{}).handler(t, resolver.Settings{Overrides: overrides(t)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &socketmap.Server{Handler: h, Logger: slog.New(slog.DiscardHandler)}
	served := make(chan error)
	go func() { served <- srv.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions() {
		ask, want := netstring.Append(nil, q.maps+" "+q.key), string(netstring.Append(nil, q.answer))
		got := make([]byte, len(want))
		once := func() {
			if _, err := conn.Write(ask); err != nil {
				t.Fatal(err)
			}
			if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
				t.Fatalf("%s: %s %s: got %q, %v, want %q", q.why, q.maps, q.key, got[:n], err, want)
			}
		}
		once()         // looks up
		once()         // may start a check in the background
		for range 10 { // the check may end meanwhile
			once()
		}
		if n := testing.AllocsPerRun(1000, once); n > 1 {
			t.Errorf("%s: %s %s: %v allocations", q.why, q.maps, q.key, n)
		}
	}
	conn.Close()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
}

// endless is a listener with one connection that sends the same request left times. It measures the daemon without the
// kernel.
type endless struct {
	net.Conn // nil: an unexpected call panics
	request  []byte
	left     int
	accepted bool
	ended    chan struct{}
}

func (e *endless) Accept() (net.Conn, error) {
	if e.accepted {
		<-e.ended
		return nil, net.ErrClosed
	}
	e.accepted = true
	return e, nil
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left--; e.left < 0 {
		return 0, io.EOF
	}
	return copy(p, e.request), nil
}

func (e *endless) Write(p []byte) (int, error)      { return len(p), nil }
func (e *endless) SetWriteDeadline(time.Time) error { return nil }
func (e *endless) Addr() net.Addr                   { return &net.UnixAddr{Net: "unix"} }

// Close is called for the connection first, then for the listener.
func (e *endless) Close() error {
	select {
	case <-e.ended:
	default:
		close(e.ended)
	}
	return nil
}

func BenchmarkKnownAnswer(b *testing.B) {
	for _, q := range questions() {
		b.Run(q.maps+" "+q.key, func(b *testing.B) {
			h, _, _ := (&world{}).handler(b, resolver.Settings{Overrides: overrides(b)})
			request := socketmap.Request{Map: []byte(q.maps), Key: []byte(q.key)}
			for range 3 {
				h.ServeSocketmap(b.Context(), request)
			}
			e := &endless{request: netstring.Append(nil, q.maps+" "+q.key), left: b.N, ended: make(chan struct{})}
			srv := &socketmap.Server{Handler: h, Logger: slog.New(slog.DiscardHandler)}
			b.ReportAllocs()
			b.ResetTimer()
			_ = srv.Serve(e)
		})
	}
}
