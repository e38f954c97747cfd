package dnsclient

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	defaultTimeout    = 3 * time.Second
	defaultAttempts   = 3
	defaultResolvConf = "/etc/resolv.conf"

	// DefaultMaxSockets is the default of Config.MaxSockets.
	DefaultMaxSockets = 1000
	// maxRecords bounds the records of one answer. No mail domain comes near it.
	maxRecords = 200
)

// Config says whom to ask and how patiently. The zero Config asks the servers of /etc/resolv.conf.
type Config struct {
	// Servers are addresses, with a port if it is not 53: "192.0.2.53", "192.0.2.53:5353", "2001:db8::1",
	// "[2001:db8::1]:53", "fe80::1%eth0". Empty: those of ResolvConf.
	Servers []string
	// ResolvConf is the path of a resolv.conf(5), "" for /etc/resolv.conf. It is read again within about a second of a
	// change. While it is missing or names no server, the last servers it named are asked, and 127.0.0.1 if it never
	// named one. Its first three servers count, as in libc.
	ResolvConf string
	// Timeout is for one attempt, a change to TCP included. 0: 3 s.
	Timeout time.Duration
	// Attempts is how often a question is sent, over all servers in turn, but each server is tried once. 0: 3. So a
	// lookup without CNAMEs takes at most max(Attempts, number of servers) × Timeout; the context may end it earlier.
	Attempts int
	// TrustAD believes the AD bit of Servers. That of loopback addresses is always believed, but for 127.0.0.11,
	// Docker's forwarder; and that of the servers of a resolv.conf when it says "options trust-ad".
	TrustAD bool
	// MaxSockets bounds the questions under way at any time, each with a socket; a further one waits for its turn, as
	// long as one attempt may last, and then fails by a fault of this host. 0: DefaultMaxSockets.
	MaxSockets int
}

// Client looks up records. It is safe for concurrent use. A second or two after the last lookup it holds no socket and
// no goroutine.
//
// A name that the DNS cannot hold (empty, with an empty label or one over 63 bytes, or over 255 bytes in all) exists
// nowhere: it is answered NXDomain, with no TTL, without asking.
type Client struct {
	timeout  time.Duration
	attempts int
	roster   *roster
	asking   chan struct{} // one element for each question under way
	sockets  *sockets
	buffers  *sync.Pool // of *[udpBuffer]byte
	dnssec   bool       // ask with the DO bit
}

// New returns a Client. Its error names the setting, and the server's text, that it cannot work with; a resolv.conf
// that cannot be read is no error (see Client.ResolvConfError).
func New(cfg Config) (*Client, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("dns timeout %v: must not be negative", cfg.Timeout)
	}
	if cfg.Attempts < 0 {
		return nil, fmt.Errorf("dns attempts %d: must not be negative", cfg.Attempts)
	}
	var r *roster
	if len(cfg.Servers) > 0 {
		var err error
		if r, err = fixedRoster(cfg.Servers, cfg.TrustAD); err != nil {
			return nil, err
		}
	} else {
		r = fileRoster(cmp.Or(cfg.ResolvConf, defaultResolvConf))
	}
	return &Client{
		timeout:  cmp.Or(cfg.Timeout, defaultTimeout),
		attempts: cmp.Or(cfg.Attempts, defaultAttempts),
		roster:   r,
		asking:   make(chan struct{}, cmp.Or(cfg.MaxSockets, DefaultMaxSockets)),
		sockets:  new(sockets),
		buffers:  &sync.Pool{New: func() any { return new([udpBuffer]byte) }},
	}, nil
}

// WithDNSSEC returns a client of the same servers, sockets and limits that asks with the DO bit as well (RFC 4035
// section 3.2.1). Some resolvers set the AD bit only in answers to such questions: a caller who needs Answer.Authentic
// asks this one. Its answers carry signatures, which are not used, and are larger: more of them come over TCP.
func (c *Client) WithDNSSEC() *Client {
	d := *c
	d.dnssec = true
	return &d
}

// Servers returns the servers that are asked at present, as "192.0.2.53:53", in the order of the configuration.
func (c *Client) Servers() []string {
	var texts []string
	for _, s := range c.roster.current().servers {
		texts = append(texts, s.addr.String())
	}
	return texts
}

// AuthenticServers reports whether the AD bit of any server that is asked at present would be believed. If not, no
// Answer is ever Authentic, and DANE cannot be judged: the administrator should be told.
func (c *Client) AuthenticServers() bool {
	return slices.ContainsFunc(c.roster.current().servers, func(s *server) bool { return s.believed })
}

// ResolvConfError says what is wrong with resolv.conf at present: that it cannot be read, so that the servers of before
// are asked, or which of its lines were ignored. nil: nothing is, or Config named the servers.
func (c *Client) ResolvConfError() error { return c.roster.current().problem }

// TXT looks up TXT records. The strings of one record are joined without spaces (RFC 8461 section 3.1); they are the
// bytes of the wire, not escaped.
func (c *Client) TXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, c, name, dns.TypeTXT, decodeTXT, equal[string])
}

// A looks up IPv4 addresses.
func (c *Client) A(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, c, name, dns.TypeA, decodeA, equal[netip.Addr])
}

// AAAA looks up IPv6 addresses. An IPv4 address mapped into IPv6 is returned as it is: Unmap it before judging it.
func (c *Client) AAAA(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, c, name, dns.TypeAAAA, decodeAAAA, equal[netip.Addr])
}

// MX looks up mail exchangers, the most preferred first; those of equal preference are in the server's order.
func (c *Client) MX(ctx context.Context, name string) (Answer[MX], error) {
	a, err := lookup(ctx, c, name, dns.TypeMX, decodeMX, equal[MX])
	slices.SortStableFunc(a.Records, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return a, err
}

// TLSA looks up TLSA records; the name includes port and protocol, "_25._tcp.mail.example.com" (RFC 6698 section 3).
func (c *Client) TLSA(ctx context.Context, name string) (Answer[TLSA], error) {
	return lookup(ctx, c, name, dns.TypeTLSA, decodeTLSA, TLSA.equal)
}

// lookup resolves name and turns the records into ours. decode is only given records of qtype that have data.
func lookup[T any](ctx context.Context, c *Client, name string, qtype uint16, decode func(dns.RR) T,
	same func(T, T) bool) (Answer[T], error) {
	f, fail := c.resolve(ctx, name, qtype)
	if fail != nil {
		fail.Name, fail.Type = strings.TrimSuffix(name, "."), dns.TypeToString[qtype]
		return Answer[T]{}, fail
	}
	a := Answer[T]{Target: f.target(), TTL: f.ttl, Denial: f.denial, Authentic: f.authentic}
	for _, rr := range f.records {
		r := decode(rr)
		// RFC 2181 section 5: a set has no duplicates, so two equal records are one that was sent twice.
		if slices.ContainsFunc(a.Records, func(o T) bool { return same(o, r) }) {
			continue
		}
		if a.Records = append(a.Records, r); len(a.Records) == maxRecords {
			break
		}
	}
	return a, nil
}

func decodeTXT(rr dns.RR) string {
	strs := rr.(*dns.TXT).Txt
	if len(strs) == 1 {
		return unescape(strs[0])
	}
	var b strings.Builder
	for _, s := range strs {
		b.WriteString(unescape(s))
	}
	return b.String()
}

func decodeA(rr dns.RR) netip.Addr {
	a, _ := netip.AddrFromSlice(rr.(*dns.A).A)
	return a.Unmap()
}

func decodeAAAA(rr dns.RR) netip.Addr {
	a, _ := netip.AddrFromSlice(rr.(*dns.AAAA).AAAA)
	return a
}

func decodeMX(rr dns.RR) MX {
	mx := rr.(*dns.MX)
	return MX{Preference: mx.Preference, Host: strings.TrimSuffix(dns.CanonicalName(mx.Mx), ".")}
}

func decodeTLSA(rr dns.RR) TLSA {
	t := rr.(*dns.TLSA)
	data, _ := hex.DecodeString(t.Certificate) // the library made the hex from bytes
	return TLSA{Usage: t.Usage, Selector: t.Selector, MatchingType: t.MatchingType, Data: data}
}

func (t TLSA) equal(o TLSA) bool {
	return t.Usage == o.Usage && t.Selector == o.Selector && t.MatchingType == o.MatchingType &&
		slices.Equal(t.Data, o.Data)
}

func equal[T comparable](a, b T) bool { return a == b }
