package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

// errs is what a dial that tried several addresses returns.
type errs []error

func (e errs) Error() string   { return errors.Join(e...).Error() }
func (e errs) Unwrap() []error { return e }

func dialed(to string, errno syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)),
		Err: os.NewSyscallError("connect", errno)}
}

func TestJudge(t *testing.T) {
	const v4, v6 = "192.0.2.1:443", "[2001:db8::1]:443"
	refused, noRoute := dialed(v4, syscall.ECONNREFUSED), &Error{Host, "routes", dialed(v6, syscall.ENETUNREACH)}
	noFiles := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	tooSlow := &Error{Exhausted, "", errors.New("not finished within 80s")}
	for _, c := range []struct {
		why  string
		err  error
		want Kind
		cure string // what the cure has in it; "": there is none
	}{
		{"no error", nil, Domain, ""},
		{"an error of unknown origin says nothing about this host", errors.New("HTTP status 500"), Domain, ""},
		{"nobody listens at the policy host", refused, Domain, ""},
		{"the policy host is silent", os.ErrDeadlineExceeded, Domain, ""},
		{"a fetch has its own limit, which the policy host has used up", context.DeadlineExceeded, Domain, ""},
		{"the connection was cut", io.ErrUnexpectedEOF, Domain, ""},
		{"it was reset", dialed(v4, syscall.ECONNRESET), Domain, ""},
		{"a router far away says so, unless this host's table does", dialed(v4, syscall.ENETUNREACH), Domain, ""},
		{"the same for a host", dialed(v4, syscall.EHOSTUNREACH), Domain, ""},

		{"descriptors of the process", noFiles, Exhausted, "LimitNOFILE"},
		{"descriptors of the machine", os.NewSyscallError("socket", syscall.ENFILE), Exhausted, "fs.file-max"},
		{"buffers", dialed(v4, syscall.ENOBUFS), Exhausted, "memory"},
		{"memory", dialed(v4, syscall.ENOMEM), Exhausted, "memory"},
		{"ports", dialed(v4, syscall.EADDRNOTAVAIL), Exhausted, "ip_local_port_range"},
		{"an own limit", fmt.Errorf("fetch: %w", tooSlow), Exhausted, ""},
		{"an own limit, told by the context that it ended", fmt.Errorf("%w: %w", context.DeadlineExceeded, tooSlow),
			Exhausted, ""},

		{"IPv6 without an address of this host to connect from", dialed(v6, syscall.EADDRNOTAVAIL), Host, "routes"},
		{"the interface is down", dialed(v4, syscall.ENETDOWN), Host, "interfaces"},
		{"this host's firewall", dialed(v4, syscall.EPERM), Host, "firewall"},
		{"a prohibited route, or a sandbox", dialed(v4, syscall.EACCES), Host, "firewall"},
		{"no IPv6 in the kernel", os.NewSyscallError("socket", syscall.EAFNOSUPPORT), Host, "IPv6"},
		{"what its maker knows", fmt.Errorf("connect: %w", noRoute), Host, "routes"},

		{"IPv6 has no route, IPv4 was refused: the domain's", errs{noRoute, refused}, Domain, ""},
		{"the other way round", errs{refused, noRoute}, Domain, ""},
		{"no route for either", errs{noRoute, noRoute}, Host, "routes"},
		{"one refused, the other not tried for lack of a descriptor: it might have worked", errs{refused, noFiles},
			Exhausted, "LimitNOFILE"},
		{"no route, and no descriptor", errs{noRoute, noFiles}, Exhausted, "LimitNOFILE"},
		{"a proxy could not be reached for lack of a descriptor", &Error{Host, "proxy", noFiles}, Exhausted,
			"LimitNOFILE"},
		{"a proxy refused the connection", &Error{Host, "proxy", refused}, Host, "proxy"},
		{"no parts", errs{}, Domain, ""},
	} {
		got := Judge(c.err)
		if got.Kind != c.want || (c.cure == "") != (got.Cure == "") || !strings.Contains(got.Cure, c.cure) {
			t.Errorf("%s: %+v, want %v with %q", c.why, got, c.want, c.cure)
		}
		if k := Of(c.err); k != c.want {
			t.Errorf("%s: Of %v, want %v", c.why, k, c.want)
		}
	}
}

// TestKindWords: the words are metric labels.
func TestKindWords(t *testing.T) {
	for k, want := range map[Kind]string{Domain: "domain", Host: "host", Exhausted: "exhausted", 3: "invalid"} {
		if k.String() != want {
			t.Errorf("%d: %q, want %q", k, k, want)
		}
	}
}
