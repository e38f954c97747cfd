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

// Config has the settings of a Server. All but Addr and Strict can be changed while it runs.
type Config struct {
	Addr        string        // to listen on; "" is 127.0.0.1 with a port that is free for UDP and TCP
	Zone        string        // see Server.Add
	AD          bool          // all answers are validated by DNSSEC
	NegativeTTL time.Duration // TTL and MINIMUM of the SOA in denials; 0: 1 minute; negative: no SOA
	// Strict makes a question an error if there is neither a record (or CNAME) nor a hook for it: it is answered
	// REFUSED, returned by Unexpected, and fails the test. For a question that is expected and denied, use the hook
	// Answer.
	Strict bool
}

// T is the part of testing.TB that New needs.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Server is a running resolver. It is safe for concurrent use.
type Server struct {
	addr   string
	strict bool
	fail   func(format string, args ...any) // reports an unexpected question to the test
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

// hangLimit ends a Close that hangs. Handlers that still send may take long on a busy machine.
const hangLimit = 5 * time.Minute

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

// Start starts a Server, which the caller must Close. It fails if it cannot listen on Addr or parse Zone.
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
	const tries = 50 // a port that is free for TCP may be in use for UDP
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, "", err
		}
		host, wanted, _ := net.SplitHostPort(addr)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		both := net.JoinHostPort(host, port) // with the scope id, which l.Addr does not have
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

// Close stops the Server. It releases waiting hooks and returns when all goroutines have ended. Further calls return
// the same result.
func (s *Server) Close() error {
	s.closing.Do(func() {
		close(s.done)
		ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
		defer cancel()
		s.closed = errors.Join(s.udp.ShutdownContext(ctx), s.tcp.ShutdownContext(ctx))
	})
	return s.closed
}

// Addr returns the server's address, such as "127.0.0.1:5353".
func (s *Server) Addr() string { return s.addr }

// Add adds records, one for each line as in a zone file, each with its name. Lines may be indented; the default TTL is
// 300 s. Existing records are kept. Denials below a SOA contain it.
//
// Add panics if it cannot parse the text.
func (s *Server) Add(zone string) {
	rrs := mustParse(zone)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone.add(rrs)
}

// SetZone replaces all records. The text is as for Add.
func (s *Server) SetZone(text string) {
	var z zone
	z.add(mustParse(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = z
}

// Set replaces, in one step, the records of one name and type by those of text, which must have that name and type. An
// empty text removes them.
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

// On sets the hooks for the questions of a name and type. Each question uses the next hook; the last one is used again.
// The name "*" means any name, and the type dns.TypeANY any type; the most specific entry is used, the name before the
// type. Without hooks, the zone answers again.
func (s *Server) On(name string, qtype uint16, hooks ...Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(hooks) == 0 {
		delete(s.hooks, newKey(name, qtype))
		return
	}
	s.hooks[newKey(name, qtype)] = slices.Clone(hooks)
}

// nextHook removes and returns the next hook for k, nil if there is none; the last hook is not removed. s.mu must be
// held.
func (s *Server) nextHook(k key) Hook {
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

// serve answers one question from the sockets.
func (s *Server) serve(w dns.ResponseWriter, m *dns.Msg) {
	if len(m.Question) != 1 {
		return
	}
	q := newQuery(w, m, s.done)
	k := newKey(q.Name, q.Type)

	s.mu.Lock()
	s.counts[k]++
	s.log = appendBounded(s.log, q.Question)
	close(s.arrived)
	s.arrived = make(chan struct{})
	hook := s.nextHook(k)
	unexpected := hook == nil && s.strict && !s.zone.hasAnswer(k)
	if unexpected {
		s.unexpected = appendBounded(s.unexpected, q.Question)
	}
	s.zone.answer(q.Reply, k, s.negative)
	q.Reply.AuthenticatedData = s.ad && (m.AuthenticatedData || q.DO)
	s.mu.Unlock()

	switch {
	case unexpected:
		s.fail("dnstest: unexpected question: %v", q.Question)
		Rcode(dns.RcodeRefused)(q)
	case hook != nil:
		hook(q)
	default:
		q.Send()
	}
}

// Count returns the number of questions for a name and type, over UDP and TCP together.
func (s *Server) Count(name string, qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[newKey(name, qtype)]
}

// Total returns the number of all questions.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.counts {
		n += c
	}
	return n
}

// Questions returns the last questions, at least 5,000 if there were as many, in the order of arrival.
func (s *Server) Questions() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Unexpected returns the questions that failed because of Config.Strict.
func (s *Server) Unexpected() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unexpected)
}

// Reset removes all questions from the counts and lists.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
	s.log, s.unexpected = nil, nil
}

// Wait waits until Count is at least n. It returns the context's error if ctx ends first.
func (s *Server) Wait(ctx context.Context, name string, qtype uint16, n int) error {
	for {
		s.mu.Lock()
		enough, arrived := s.counts[newKey(name, qtype)] >= n, s.arrived
		s.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
