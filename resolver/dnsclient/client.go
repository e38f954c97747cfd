package dnsclient

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	defaultTimeout    = 3 * time.Second
	defaultAttempts   = 3
	defaultResolvConf = "/etc/resolv.conf"

	// DefaultMaxSockets is the default of Config.MaxSockets.
	DefaultMaxSockets = 1000
	// maxRecords is the largest number of records of one answer. No mail domain has nearly as many.
	maxRecords = 200
)

// Config has the settings of a Client. The zero Config asks the servers of /etc/resolv.conf.
type Config struct {
	// Servers are addresses, with a port if it is not 53: "192.0.2.53", "192.0.2.53:5353", "2001:db8::1",
	// "[2001:db8::1]:53", "fe80::1%eth0". Empty: those of ResolvConf.
	Servers []string
	// ResolvConf is the path of a resolv.conf(5), "" for /etc/resolv.conf. It is read again within about a second of a
	// change. While it is missing or names no server, the servers that it named last are asked, and 127.0.0.1 if it
	// never named one. Its first three servers are used, as in libc.
	ResolvConf string
	// Timeout is the limit of one attempt, with a repetition by TCP. 0 means 3 s.
	Timeout time.Duration
	// Attempts is how often a question is sent, to the servers in turn; each server is asked at least once. 0 means 3.
	// A lookup without CNAMEs takes at most max(Attempts, number of servers) × Timeout, and once more Timeout for each
	// server that has not answered for 10 minutes: it may drop questions with EDNS0, and is asked without.
	Attempts int
	// TrustAD says that the AD bit of Servers is believed. The AD bit of loopback addresses is always believed, except
	// of 127.0.0.11, Docker's forwarder; that of a resolv.conf's servers if it has "options trust-ad".
	TrustAD bool
	// TCP says that questions are sent by TCP only. So they are also if resolv.conf has "options use-vc".
	TCP bool
	// Problem is called for each new problem with resolv.conf: it cannot be read, and the previous servers are asked,
	// or some of its lines are ignored. It may be nil. It must not call the Client.
	Problem func(error)
	// MaxSockets is the largest number of questions in progress at a time, each with a socket. Another question waits
	// for Timeout at most and then fails with a fault.Exhausted. 0 means DefaultMaxSockets.
	MaxSockets int
}

// Client looks up records. It is safe for concurrent use. Between lookups it has no open socket and no goroutine.
//
// A name that the DNS cannot represent (empty, with an empty label or one of more than 63 bytes, or of more than 255
// bytes) is answered NXDomain with a TTL of 0, without a question.
type Client struct {
	attempts    int
	nameservers *nameservers
	transport   *transport
	dnssec      bool // set the DO bit
}

// New returns a Client. The error names the invalid setting or server. A resolv.conf that cannot be read is not an
// error; see Config.Problem.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("dns timeout %v: must not be negative", cfg.Timeout)
	}
	if cfg.Attempts < 0 {
		return nil, fmt.Errorf("dns attempts %d: must not be negative", cfg.Attempts)
	}
	servers, err := newNameservers(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{
		attempts:    cmp.Or(cfg.Attempts, defaultAttempts),
		nameservers: servers,
		transport: newTransport(cmp.Or(cfg.Timeout, defaultTimeout),
			cmp.Or(cfg.MaxSockets, DefaultMaxSockets)),
	}, nil
}

// WithDNSSEC returns a client with the same servers, sockets and limits that also sets the DO bit (RFC 4035 section
// 3.2.1). Use it if Answer.Authentic matters: some resolvers set the AD bit only in answers to such questions. Its
// answers contain signatures, which are not used; they are larger, and more of them come by TCP.
func (c *Client) WithDNSSEC() *Client {
	d := *c
	d.dnssec = true
	return &d
}

// Servers returns the current servers in the order of the configuration, in the form "192.0.2.53:53".
func (c *Client) Servers() []string {
	var texts []string
	for _, s := range c.nameservers.list().servers {
		texts = append(texts, s.addr.String())
	}
	return texts
}

// AuthenticServers reports whether the AD bit of any current server is believed. If not, no Answer is Authentic and
// DANE cannot be used; the caller should tell the administrator.
func (c *Client) AuthenticServers() bool {
	return slices.ContainsFunc(c.nameservers.list().servers, func(s *server) bool { return s.believed })
}

// TXT looks up TXT records. The strings of a record are joined without spaces (RFC 8461 section 3.1). They are the
// bytes on the wire, without escapes. The error is an *Error.
func (c *Client) TXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, c, name, kind[string]{dns.TypeTXT, decodeTXT, equal[string]})
}

// A looks up IPv4 addresses. The error is an *Error.
func (c *Client) A(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, c, name, kind[netip.Addr]{dns.TypeA, decodeA, equal[netip.Addr]})
}

// AAAA looks up IPv6 addresses. An IPv4 address mapped into IPv6 is returned unchanged: call Unmap before any check of
// the address. The error is an *Error.
func (c *Client) AAAA(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, c, name, kind[netip.Addr]{dns.TypeAAAA, decodeAAAA, equal[netip.Addr]})
}

// MX looks up mail exchangers, the most preferred first. Those of equal preference are in the server's order. The error
// is an *Error.
func (c *Client) MX(ctx context.Context, name string) (Answer[MX], error) {
	a, err := lookup(ctx, c, name, kind[MX]{dns.TypeMX, decodeMX, equal[MX]})
	slices.SortStableFunc(a.Records, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return a, err
}

// TLSA looks up TLSA records. The name contains port and protocol, "_25._tcp.mail.example.com" (RFC 6698 section 3).
// The error is an *Error.
func (c *Client) TLSA(ctx context.Context, name string) (Answer[TLSA], error) {
	return lookup(ctx, c, name, kind[TLSA]{dns.TypeTLSA, decodeTLSA, TLSA.equal})
}

// Probe asks for the name servers of the root. It returns nil if a server answers, whatever the answer is. The error is
// an *Error: then no lookup can work.
func (c *Client) Probe(ctx context.Context) error {
	_, fail := c.resolve(ctx, ".", dns.TypeNS)
	if fail == nil {
		return nil
	}
	fail.Name, fail.Type = ".", "NS"
	return fail
}

// Validates reports whether the servers validate DNSSEC, as far as this client believes them: it asks for the SOA of
// the root, which is signed. The error is an *Error.
func (c *Client) Validates(ctx context.Context) (bool, error) {
	f, fail := c.resolve(ctx, ".", dns.TypeSOA)
	if fail != nil {
		fail.Name, fail.Type = ".", "SOA"
		return false, fail
	}
	return f.authentic && len(f.records) > 0, nil
}

// kind is a kind of records.
type kind[T any] struct {
	qtype  uint16
	decode func(dns.RR) T // gets only records of qtype that have data
	same   func(T, T) bool
}

// lookup resolves name and decodes the records.
func lookup[T any](ctx context.Context, c *Client, name string, of kind[T]) (Answer[T], error) {
	f, fail := c.resolve(ctx, name, of.qtype)
	if fail != nil {
		fail.Name, fail.Type = strings.TrimSuffix(name, "."), dns.TypeToString[of.qtype]
		return Answer[T]{}, fail
	}
	a := Answer[T]{Target: f.target(), TTL: f.ttl, Denial: f.denial, Authentic: f.authentic}
	for _, rr := range f.records {
		r := of.decode(rr)
		// RFC 2181 section 5: a set has no duplicates, so an equal record was sent twice.
		if slices.ContainsFunc(a.Records, func(o T) bool { return of.same(o, r) }) {
			continue
		}
		if a.Records = append(a.Records, r); len(a.Records) == maxRecords {
			break
		}
	}
	return a, nil
}

// resolve asks for name and the targets of its CNAMEs until it finds records or a denial. Its error has all fields but
// Name and Type.
func (c *Client) resolve(ctx context.Context, name string, qtype uint16) (finding, *Error) {
	asked, ok := canonical(name)
	if !ok {
		return finding{denial: NXDomain}, nil
	}
	f := newFinding(asked)
	for f.open {
		next, fail := c.queryServers(ctx, f, qtype)
		if fail != nil {
			if f.end() != asked {
				fail.Target = strings.TrimSuffix(f.end(), ".")
			}
			return finding{}, fail
		}
		f = next
	}
	return f, nil
}

// queryServers asks for the last name of f, one server after the other, until one answers or the attempts are used up.
// Something on the way may drop questions with EDNS0; so servers that have not answered are then asked without it.
func (c *Client) queryServers(ctx context.Context, f finding, qtype uint16) (finding, *Error) {
	servers := c.nameservers.order()
	r := round{client: c, from: f, q: question{name: f.end(), qtype: qtype, dnssec: c.dnssec}}
	for i := range max(c.attempts, len(servers)) {
		if r.ask(ctx, servers[i%len(servers)]) {
			return r.found, r.final
		}
	}
	r.q.plain = true
	for _, s := range servers {
		if !c.dnssec && slices.Contains(r.silent, s) && c.nameservers.mayDropEDNS(s) && r.ask(ctx, s) {
			return r.found, r.final
		}
	}
	return finding{}, r.worst
}

// round is one question to the servers, one after the other.
type round struct {
	client *Client
	from   finding
	q      question

	attempts int
	silent   []*server // that have not answered
	worst    *Error
	found    finding
	final    *Error // an error that no other server can mend; nil: found is the answer
}

// ask asks one server. It returns true if the round is over.
func (r *round) ask(ctx context.Context, s *server) bool {
	q := r.q
	q.plain = q.plain || !q.dnssec && r.client.nameservers.plain(s)
	r.attempts++
	var fail *Error
	if r.found, fail = r.client.queryServer(ctx, s, r.from, q); fail == nil {
		return true
	}
	fail.Server, fail.Attempts = s.addr.String(), r.attempts
	if fail.Kind == Cancelled || fail.Kind == CNAMELoop {
		r.final = fail
		return true
	}
	if fail.Kind == Timeout {
		r.silent = append(r.silent, s)
	}
	// An answer of a server says more than that another server could not be asked.
	if r.worst == nil || fault.Of(r.worst) != fault.Domain || fault.Of(fail) == fault.Domain {
		r.worst = fail
	}
	r.worst.Attempts = r.attempts
	return false
}

// queryServer asks one server.
func (c *Client) queryServer(ctx context.Context, s *server, f finding, q question) (finding, *Error) {
	m, fail := c.transport.exchange(ctx, s, q)
	c.nameservers.recordResult(s, fail)
	if fail != nil {
		return finding{}, fail
	}
	c.nameservers.recordEDNS(s, q)
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return finding{}, &Error{Kind: ServerFailure, Rcode: m.Rcode, Detail: extendedError(m)}
	}
	f, fail = f.advance(m, q.qtype)
	f.authentic = f.authentic && m.AuthenticatedData && s.believed
	return f, fail
}
