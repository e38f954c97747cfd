package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrInUse says that another process serves this address. Stop that one first, or choose another address.
var ErrInUse = errors.New("another process serves it")

// SpecError says that an address is not of a form that Listen and Dial know. It is a mistake in the configuration.
type SpecError struct {
	Spec string // as given
	Msg  string
}

// Error names the address and what is wrong with it.
func (e *SpecError) Error() string { return fmt.Sprintf("address %q: %s", e.Spec, e.Msg) }

// ListenOptions are for UNIX sockets; TCP has no use for them.
type ListenOptions struct {
	Mode  fs.FileMode // permission bits of the socket; 0 is 0666: whoever can reach the directory may ask
	Group string      // name or number of the socket's group; "" leaves it to the system
}

// maxSocketPath is the longest path that Linux can bind a socket to.
const maxSocketPath = 107

// ParseSpec takes apart an address as Postfix writes it: inet:host:port, where host is a name, an IPv4 address or an
// IPv6 address in brackets, and port a number or a service's name; or unix:/path. The results are for the functions of
// package net. The error is a *SpecError.
func ParseSpec(spec string) (network, address string, err error) {
	kind, rest, found := strings.Cut(spec, ":")
	switch {
	case found && kind == "unix":
		return parseUnixSpec(spec, rest)
	case found && kind == "inet":
		return parseInetSpec(spec, rest)
	}
	return "", "", &SpecError{Spec: spec, Msg: "want inet:host:port or unix:/path"}
}

func parseUnixSpec(spec, path string) (network, address string, err error) {
	switch {
	case !filepath.IsAbs(path):
		return "", "", &SpecError{Spec: spec, Msg: "the path of a UNIX socket must begin with /"}
	case strings.HasSuffix(path, "/") || strings.ContainsRune(path, 0):
		return "", "", &SpecError{Spec: spec, Msg: "the path of a UNIX socket must name a file"}
	case len(path) > maxSocketPath:
		return "", "", &SpecError{
			Spec: spec, Msg: fmt.Sprintf("the path has %d bytes, a UNIX socket's has at most %d", len(path),
				maxSocketPath)}
	}
	return "unix", filepath.Clean(path), nil
}

func parseInetSpec(spec, hostPort string) (network, address string, err error) {
	host, port, err := net.SplitHostPort(hostPort)
	switch {
	case err != nil:
		return "", "", &SpecError{Spec: spec, Msg: "want inet:host:port, an IPv6 address in brackets"}
	case host == "":
		return "", "", &SpecError{
			Spec: spec, Msg: "the host is empty; all addresses of this host are inet:[::]:port or inet:0.0.0.0:port"}
	case port == "":
		return "", "", &SpecError{Spec: spec, Msg: "the port is empty"}
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4", hostPort, nil // plain "tcp" would take 0.0.0.0 for IPv6 as well
	}
	return "tcp", hostPort, nil
}

// Listen listens on an address as Postfix writes it (see ParseSpec). Of a host name with several addresses one is used,
// an IPv4 one first.
//
// A UNIX socket has its mode and group before anyone can connect to it. A socket file that a dead process left is
// replaced, in one step; one that is served is not (ErrInUse), and nothing that is not a socket is ever removed. Close
// removes the socket file if it is still this listener's.
func Listen(spec string, opt ListenOptions) (net.Listener, error) {
	network, address, err := ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	var ln net.Listener
	if network == "unix" {
		ln, err = listenUnix(address, opt)
	} else {
		var lc net.ListenConfig
		ln, err = lc.Listen(context.Background(), network, address)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: %w", spec, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", spec, err)
	}
	return ln, nil
}
