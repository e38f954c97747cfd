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

// perFamily is the number of addresses of each family that are tried of one MX host.
const perFamily = 2

// probe is the result of probing one MX host.
type probe struct {
	probed    bool
	addresses []netip.Addr
	failed    []Failure
	address   netip.Addr // of the session; the zero Addr: none
	smtpResult
}

// prober probes MX hosts.
type prober struct {
	client
	dial     func(context.Context, netip.AddrPort) (net.Conn, error)
	sessions *semaphore.Weighted // at a time
	port     uint16
	noSMTP   bool // look up addresses only
}

// probe probes one host. It tries the addresses in the order of Postfix until one has a session.
func (p prober) probe(ctx context.Context, dns *dnsCache, host string) probe {
	var seen probe
	var err error
	// RFC 5321 section 5.1 forbids it, but Postfix delivers to it
	if literal, bad := netip.ParseAddr(host); bad == nil {
		seen.addresses = []netip.Addr{literal}
	} else {
		seen.addresses, err = dns.addresses(ctx, host)
	}
	seen.probed = !p.noSMTP
	switch {
	case err != nil:
		seen.problem = &Problem{ProblemNoAnswer, "has addresses that cannot be looked up: the DNS " + dnsReason(err)}
		return seen
	case len(seen.addresses) == 0:
		seen.problem = &Problem{ProblemNoAddress, "has no address in the DNS"}
		return seen
	case p.noSMTP:
		return seen
	}
	if err := p.sessions.Acquire(ctx, 1); err != nil {
		seen.problem = &Problem{ProblemUnreachable, fmt.Sprintf("was not probed: %v", context.Cause(ctx))}
		return seen
	}
	defer p.sessions.Release(1)
	p.tryAddresses(ctx, host, &seen)
	return seen
}

// tryAddresses tries one address after the other. If the connection or the greeting fails, the next address is tried;
// after a good greeting the result is final.
func (p prober) tryAddresses(ctx context.Context, host string, seen *probe) {
	for _, a := range candidates(seen.addresses) {
		if seen.problem != nil && ctx.Err() != nil {
			return
		}
		if seen.problem != nil {
			seen.failed = append(seen.failed, Failure{seen.address.String(), seen.problem.Text})
		}
		seen.address = a
		conn, err := p.connect(ctx, netip.AddrPortFrom(a, p.port))
		if err != nil {
			reason := connReason(err)
			if ctx.Err() != nil {
				reason = context.Cause(ctx).Error()
			} else if isTimeout(err) {
				reason = fmt.Sprintf("no answer within %v", min(p.step, connectLimit))
			}
			seen.smtpResult = smtpResult{problem: &Problem{
				ProblemUnreachable, "cannot be reached on port " + strconv.Itoa(int(p.port)) + ": " + reason}}
			continue
		}
		seen.smtpResult = p.run(ctx, conn, host)
		if seen.problem == nil || seen.problem.Code != ProblemGreeting {
			return
		}
	}
}

func (p prober) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(p.step, connectLimit))
	defer cancel()
	return p.dial(ctx, to)
}

// candidates returns the addresses to try: the first perFamily of each family, in their order.
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

// dialTCP is the default of Options.Dial.
func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
}

// Postfix's limits: smtp_helo_timeout and smtp_starttls_timeout, which are the default of Options.Step, and
// smtp_connect_timeout.
const (
	stepLimit    = 5 * time.Minute
	connectLimit = 30 * time.Second
)
