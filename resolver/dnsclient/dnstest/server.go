package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Config is how a Server starts. All of it but Addr and Strict can change while it runs.
type Config struct {
	Addr        string        // to listen on; "" is 127.0.0.1 with a port that is free for UDP and TCP
	Zone        string        // see Server.Add
	AD          bool          // say that all answers are proven by DNSSEC
	NegativeTTL time.Duration // TTL and MINIMUM of the SOA in denials; 0: 1 minute; less: no SOA
	// Strict takes a question for which there is neither a record (a CNAME counts) nor a hook as a mistake: it is
	// answered REFUSED, listed by Unexpected, and fails the test that the Server was made for. To expect a question
	// that is to be denied, give it the hook Answer.
	Strict bool
}

// T is the part of testing.TB that is needed.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Server is a running resolver. All methods may be called at any time, from any goroutine.
type Server struct {
	addr   string
	strict bool
	fail   func(format string, args ...any) // a strict server's complaint
	udp    *dns.Server
	tcp    *dns.Server
	done   chan struct{} // closed by Close

	closing sync.Once
	closed  error

	mu         sync.Mutex
	zone       zone
	ad         bool
	negative   time.Duration
	hooks      map[key][]Hook
	counts     map[key]int
	log        []Question
	unexpected []Question
	arrived    chan struct{} // closed and replaced at each question
}

// key is a name in canonical form and a type.
type key struct {
	name  string
	qtype uint16
}

func newKey(name string, qtype uint16) key { return key{dns.CanonicalName(name), qtype} }

// New starts a Server that is closed when the test ends.
func New(t T, cfg Config) *Server {
	t.Helper()
	s, err := start(cfg, t.Errorf)
	if err != nil {
		t.Fatalf("dnstest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("dnstest: %v", err)
		}
	})
	return s
}

// Start starts a Server. Its errors are an address that cannot be listened on and a Zone that cannot be read. The
// caller must Close it.
func Start(cfg Config) (*Server, error) { return start(cfg, func(string, ...any) {}) }

func start(cfg Config, fail func(string, ...any)) (*Server, error) {
	rrs, err := parse(cfg.Zone)
	if err != nil {
		return nil, err
	}
	pc, l, addr, err := listen(cfg.Addr)
	if err != nil {
		return nil, err
	}
	s := &Server{
		addr: addr, strict: cfg.Strict, fail: fail, done: make(chan struct{}),
		ad: cfg.AD, hooks: map[key][]Hook{}, counts: map[key]int{}, arrived: make(chan struct{}),
	}
	s.zone.add(rrs)
	s.SetNegativeTTL(cfg.NegativeTTL)
	handler := dns.HandlerFunc(s.serve)
	s.udp = &dns.Server{PacketConn: pc, Handler: handler}
	s.tcp = &dns.Server{Listener: l, Handler: handler}
	for _, d := range []*dns.Server{s.udp, s.tcp} {
		ready, failed := make(chan struct{}), make(chan error, 1)
		d.NotifyStartedFunc = func() { close(ready) }
		go func() { failed <- d.ActivateAndServe() }()
		select {
		case <-ready:
		case err := <-failed:
			return nil, errors.Join(err, s.Close(), pc.Close(), l.Close())
		}
	}
	return s, nil
}

// listen opens both sockets on one port, and returns their address.
func listen(addr string) (net.PacketConn, net.Listener, string, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	const tries = 50 // a port that is free for TCP may be taken for UDP
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, "", err
		}
		host, wanted, _ := net.SplitHostPort(addr)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		both := net.JoinHostPort(host, port) // with the scope id, which l does not tell
		pc, err := net.ListenPacket("udp", both)
		if err == nil {
			return pc, l, both, nil
		}
		_ = l.Close()
		if wanted != "0" || try == tries {
			return nil, nil, "", err
		}
	}
}

// Close stops the Server: it frees hooks that wait, and returns when all its goroutines have ended. Further calls do
// nothing and return the same.
func (s *Server) Close() error {
	s.closing.Do(func() {
		close(s.done)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.closed = errors.Join(s.udp.ShutdownContext(ctx), s.tcp.ShutdownContext(ctx))
	})
	return s.closed
}

// Addr returns the address to ask, "127.0.0.1:5353".
func (s *Server) Addr() string { return s.addr }

// Add adds records, one a line as in a zone file, each with its name; lines may be indented, and the TTL is 300 s where
// it is left out. Records that are there already stay. A SOA makes denials below it carry it.
//
// Add panics when the text is no zone file, for then the test is wrong.
func (s *Server) Add(zone string) {
	rrs := mustParse(zone)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone.add(rrs)
}

// SetZone replaces all records; see Add.
func (s *Server) SetZone(text string) {
	var z zone
	z.add(mustParse(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = z
}

// Set replaces the records of one name and type by those of a zone text, all of whose records must be of that name and
// type; an empty text removes them. No question sees a state between.
func (s *Server) Set(name string, qtype uint16, text string) {
	rrs := mustParse(text)
	k := newKey(name, qtype)
	for _, rr := range rrs {
		if newKey(rr.Header().Name, rr.Header().Rrtype) != k {
			panic(fmt.Sprintf("dnstest: Set of %s %s with record %v", k.name, dns.TypeToString[qtype], rr))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone.remove(k)
	s.zone.add(rrs)
}

// SetAD changes Config.AD.
func (s *Server) SetAD(ad bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ad = ad
}

// SetNegativeTTL changes Config.NegativeTTL.
func (s *Server) SetNegativeTTL(d time.Duration) {
	if d == 0 {
		d = time.Minute
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.negative = d
}

// On makes hooks serve the questions for a name and type: each question uses up one hook, but the last stays. The name
// "*" means any name and the type dns.TypeANY any type; what names more wins, the name first. No hooks at all: the zone
// answers again.
func (s *Server) On(name string, qtype uint16, hooks ...Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(hooks) == 0 {
		delete(s.hooks, newKey(name, qtype))
		return
	}
	s.hooks[newKey(name, qtype)] = slices.Clone(hooks)
}

// hook takes the hook for k, nil if there is none. s.mu is held.
func (s *Server) hook(k key) Hook {
	for _, k := range []key{k, {k.name, dns.TypeANY}, newKey("*", k.qtype), newKey("*", dns.TypeANY)} {
		hooks := s.hooks[k]
		if len(hooks) > 1 {
			s.hooks[k] = hooks[1:]
		}
		if len(hooks) > 0 {
			return hooks[0]
		}
	}
	return nil
}
