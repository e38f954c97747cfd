package fetch

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// connectWithoutRoute returns the connect of a fetcher on a host that has no route to anywhere: Linux says so, in a
// network namespace that has no interface.
func connectWithoutRoute(t *testing.T) func(context.Context, netip.AddrPort) (net.Conn, error) {
	if os.Geteuid() != 0 {
		testkit.Skip(t, "a network namespace without a route needs root")
	}
	real := New(nil, Config{}).dialer.connect
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		runtime.LockOSThread() // it is never unlocked: the thread ends with the goroutine of the attempt
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a new network namespace: %v", err)
			return nil, err
		}
		return real(ctx, to)
	}
}

// TestNoRoute: an address to which this host has no route is a fault of this host, of which no publisher is told,
// unless another address says what the domain does.
func TestNoRoute(t *testing.T) {
	noRoute := connectWithoutRoute(t)
	for _, c := range []struct {
		why    string
		v6, v4 said
		host   bool // a fault of this host
		reason string
		text   string // in the error
	}{
		{"IPv4 alone", said{}, said{addrs: []string{"5.0.0.2"}}, true, "",
			"connect to 5.0.0.2:443: connect: network is unreachable"},
		{"IPv6 alone", said{addrs: []string{"2a00::1"}}, said{}, true, "", "connect to [2a00::1]:443: "},
		{"both families", said{addrs: []string{"2a00::1"}}, said{addrs: []string{"5.0.0.2"}}, true, "",
			"5.0.0.2:443: connect: network is unreachable"},
		{"IPv6, and IPv4 is refused", said{addrs: []string{"2a00::1"}}, said{addrs: []string{publicIPv4}}, false,
			"the policy host cannot be reached: connection refused", "[2a00::1]:443: "},
		{"IPv6, and the IPv4 address is not public", said{addrs: []string{"2a00::1"}},
			said{addrs: []string{"10.0.0.1"}}, false, "the policy host's addresses are not public", "[2a00::1]:443: "},
	} {
		f := newTestFetcher(t, nil, Config{Roots: newCA(t).pool()})
		f.dialer.dns = &addressDNS{t: t, host: policyHost, v6: c.v6, v4: c.v4}
		f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.Addr().String() == publicIPv4 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
			}
			return noRoute(ctx, to)
		}
		_, err := f.Fetch(t.Context(), fetchDomain())
		wantWhose(t, c.why, err, c.host, c.reason, "check this host's network interfaces and routes")
		if !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", c.why, err, c.text)
		}
	}
}
