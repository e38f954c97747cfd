package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
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
	// stallDelay is how long an address to which there is a connection may take for the rest, TLS and HTTP, before
	// another one is tried beside it, if there is that much time: else a quarter of it.
	stallDelay = 5 * time.Second
	// maxAnswers is how many addresses may answer by HTTP with what is no policy before the others are left in peace.
	maxAnswers = 4
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
			refused = notPublicError{a}
		}
	}
	return ok[:min(len(ok), maxAddresses)], refused
}

// allowed reports whether the administrator lets policy hosts have a special address.
func (d *dialer) allowed(a netip.Addr) bool {
	return slices.ContainsFunc(d.allowPrivate, func(p netip.Prefix) bool { return p.Contains(a) })
}

// notPublicError: an address of the policy host is refused by this host.
type notPublicError struct{ addr netip.Addr }

func (e notPublicError) Error() string {
	return fmt.Sprintf("its address %s is not public: refused, unless fetch.allow_private_addresses is set", e.addr)
}

var (
	errNoAddress = errors.New("no address in the DNS")
	errOnlyIPv6  = errors.New("no IPv4 address in the DNS, and this host has no IPv6 address")
)

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
