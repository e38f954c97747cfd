package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// ofProxy lays an error of the proxy on this host, whose administrator has set it.
func ofProxy(err error) error {
	return &fault.Error{Kind: fault.Host, Cure: "check HTTPS_PROXY and the proxy", Err: err}
}

// dialProxy connects to a proxy, by the system's resolver. That tells no error of the kernel, so that where it fails
// a socket is tried for: without one, the name could not be asked for.
func dialProxy(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		return c, nil
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if none := probe(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1)); fault.Of(
			none) == fault.Exhausted {
			err = fmt.Errorf("%w: %w", err, none)
		}
	}
	return nil, ofProxy(err)
}

// checkConnect judges a proxy's answer to CONNECT. With a status of 500 or more it says that it could not reach the
// policy host; with another one it refuses this host.
func (f *Client) checkConnect(resp *http.Response, at *progress) error {
	if resp.StatusCode != http.StatusOK && resp.StatusCode/100 != 5 {
		return fmt.Errorf("the proxy (HTTPS_PROXY) refuses to connect: HTTP status %d", resp.StatusCode)
	}
	now := time.Now()
	f.proxyAnswered.Store(&now)
	at.leaveProxy()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy (HTTPS_PROXY) could not connect: HTTP status %d", resp.StatusCode)
	}
	return nil
}

// proxyAnswers reports whether a fetch that began then, and timed out while it waited for the proxy, did so for the
// policy host's sake: the proxy answered others meanwhile, or shortly before.
func (f *Client) proxyAnswers(ctx context.Context, begin time.Time) bool {
	const shortly = 10 * time.Second
	last := f.proxyAnswered.Load()
	return ctx.Err() != nil && last != nil && last.After(begin.Add(-shortly))
}

// isProxyConnect reports whether http.Transport failed at the proxy, before the policy host.
func isProxyConnect(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "proxyconnect"
}

// ofRoute lays a failed connection on this host where the kernel has no route to the address. Else a router on the
// way, or the policy host's own, has said that it is unreachable.
func ofRoute(to netip.AddrPort, err error) error {
	if !isUnreachable(err) || !isUnreachable(probe(to)) {
		return err
	}
	return &fault.Error{Kind: fault.Host, Cure: "no route: check this host's network interfaces and routes", Err: err}
}

func isUnreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}

// probe connects a UDP socket, which sends nothing: its error is that of this host's sockets and routes.
func probe(to netip.AddrPort) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	return c.Close()
}
