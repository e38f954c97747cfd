package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// DNS is what a fetch asks of a DNS client; *dnsclient.Client is one. Names are without the final dot. A lookup
// ends promptly when its context does.
type DNS interface {
	A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error)
	AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error)
}

const (
	// attemptDelay is the head start of one address over the next (RFC 8305 section 8 recommends 250 ms).
	attemptDelay = 250 * time.Millisecond
	// resolutionDelay is how long IPv4 addresses wait for the answer to AAAA (RFC 8305 section 8 recommends 50 ms).
	resolutionDelay = 50 * time.Millisecond
	// maxAddresses bounds how many addresses of one policy host are tried, of each family.
	maxAddresses = 8
)

// dialer connects to a policy host by the configured DNS, never by the C library's or Go's own. The very addresses that
// it has judged are connected to.
type dialer struct {
	dns          DNS
	filter       addressFilter
	allowPrivate []netip.Prefix
	connect      func(context.Context, netip.AddrPort) (net.Conn, error)
	hasIPv6      func() bool // else nobody asks for IPv6 addresses
}

// hostHasIPv6 reports whether this host has an IPv6 address beyond its own links: without one no policy host can be
// reached by IPv6, and a third of what a fetch asks the DNS would be in vain. C libraries hold it the same way
// (AI_ADDRCONFIG).
func hostHasIPv6() bool {
	addrs, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.To4() == nil && n.IP.IsGlobalUnicast()
	})
}

// DialContext connects to host:port by RFC 8305: both families are looked up at once (where there is no IPv6, IPv4
// alone), connections are raced in turns with a head start for each, IPv6 first, and neither a lookup nor a connection
// that hangs holds up the others.
func (d *dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the lookups and attempts that have lost
	r := &race{d: d, host: host, port: uint16(port), results: make(chan attempt), lookups: 1}
	var v6 <-chan addresses
	if d.hasIPv6() {
		r.lookups++
		v6 = lookUp(ctx, host, d.dns.AAAA)
	}
	return r.run(ctx, v6, lookUp(ctx, host, d.dns.A))
}

// usable returns those addresses that may be connected to, at most maxAddresses, and an error that says why not all
// may.
func (d *dialer) usable(addrs []netip.Addr) (ok []netip.Addr, refused error) {
	for _, a := range addrs {
		a = a.Unmap()
		switch {
		case !a.IsValid():
		case d.filter.public(a) || d.allowed(a):
			ok = append(ok, a)
		case refused == nil:
			refused = fmt.Errorf("its address %s is not public: refused, unless fetch.allow_private_addresses is set",
				a)
		}
	}
	return ok[:min(len(ok), maxAddresses)], refused
}

// allowed reports whether the administrator lets policy hosts have a special address.
func (d *dialer) allowed(a netip.Addr) bool {
	return slices.ContainsFunc(d.allowPrivate, func(p netip.Prefix) bool { return p.Contains(a) })
}

type addresses struct {
	addrs []netip.Addr
	err   error
}

func lookUp(ctx context.Context, host string,
	ask func(context.Context, string) (dnsclient.Answer[netip.Addr], error)) <-chan addresses {
	answer := make(chan addresses, 1)
	go func() {
		a, err := ask(ctx, host)
		answer <- addresses{a.Records, err}
	}()
	return answer
}
