package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"
)

// perFamily is how many addresses of each family are tried of one MX host.
const perFamily = 2

// probe is what was seen of one MX host.
type probe struct {
	lookedAt  bool
	addresses []netip.Addr
	failed    []Failure
	address   netip.Addr // talked to; the zero Addr: none
	talk
}

// prober looks at MX hosts.
type prober struct {
	client
	dial     func(context.Context, netip.AddrPort) (net.Conn, error)
	sessions *semaphore.Weighted // at a time
	port     uint16
	off      bool // addresses only
}

// probe looks at one host: its addresses in order, as Postfix does, until one of them holds a session.
func (p prober) probe(ctx context.Context, dns *memo, host string) probe {
	var seen probe
	var err error
	if literal, bad := netip.ParseAddr(host); bad == nil { // against RFC 5321 section 5.1, but Postfix delivers there
		seen.addresses = []netip.Addr{literal}
	} else {
		seen.addresses, err = dns.addresses(ctx, host)
	}
	seen.lookedAt = !p.off
	switch {
	case err != nil:
		seen.fault = &Problem{ProblemNoAnswer, "has addresses that cannot be looked up: the DNS " + plainDNS(err)}
		return seen
	case len(seen.addresses) == 0:
		seen.fault = &Problem{ProblemNoAddress, "has no address in the DNS"}
		return seen
	case p.off:
		return seen
	}
	if err := p.sessions.Acquire(ctx, 1); err != nil {
		seen.fault = &Problem{ProblemUnreachable, fmt.Sprintf("was not looked at: %v", context.Cause(ctx))}
		return seen
	}
	defer p.sessions.Release(1)
	p.each(ctx, host, &seen)
	return seen
}

// each tries one address after the other. An address that cannot be connected to, or that greets badly, leaves the next
// its chance; after a greeting the host is what it is.
func (p prober) each(ctx context.Context, host string, seen *probe) {
	for _, a := range candidates(seen.addresses) {
		if seen.fault != nil && ctx.Err() != nil {
			return
		}
		if seen.fault != nil {
			seen.failed = append(seen.failed, Failure{seen.address.String(), seen.fault.Text})
		}
		seen.address = a
		conn, err := p.connect(ctx, netip.AddrPortFrom(a, p.port))
		if err != nil {
			reason := plainConn(err)
			if ctx.Err() != nil {
				reason = context.Cause(ctx).Error()
			} else if isTimeout(err) {
				reason = fmt.Sprintf("no answer within %v", p.step)
			}
			seen.talk = talk{fault: &Problem{
				ProblemUnreachable, "cannot be reached on port " + strconv.Itoa(int(p.port)) + ": " + reason}}
			continue
		}
		seen.talk = p.converse(ctx, conn, host)
		if seen.fault == nil || seen.fault.Code != ProblemGreeting {
			return
		}
	}
}

func (p prober) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.step)
	defer cancel()
	return p.dial(ctx, to)
}

// candidates are the addresses to try: the first few of each family, IPv6 first.
func candidates(all []netip.Addr) []netip.Addr {
	var chosen []netip.Addr
	count := map[bool]int{}
	for _, a := range all {
		if count[a.Is4()]++; count[a.Is4()] <= perFamily {
			chosen = append(chosen, a)
		}
	}
	return chosen
}

// dialTCP is the dial of a check outside of tests.
func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
}

// stepLimit is how long an MX host may take for each answer.
const stepLimit = 10 * time.Second
