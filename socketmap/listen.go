package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// errInUse means that another process serves the address. The administrator must stop it or choose another address.
var errInUse = errors.New("another process serves it")

// SpecError means that an address is not in a form that Listen and Dial accept. The configuration must be corrected.
type SpecError struct {
	Spec string // as given
	Msg  string
}

// Error implements error. The text names the address and what is wrong with it.
func (e *SpecError) Error() string { return fmt.Sprintf("address %q: %s", e.Spec, e.Msg) }

// ListenOptions are the options of a UNIX socket. They have no effect for TCP.
type ListenOptions struct {
	Mode  fs.FileMode // permission bits of the socket; 0 means 0666: every user who can reach the directory may connect
	Group string      // name or number of the socket's group; "" means the process's own
	Keep  bool        // Close leaves the socket file: another process, such as systemd, has the socket open too
}

// maxSocketPath is the length in bytes of the longest path that Linux accepts for a socket.
const maxSocketPath = 107

// ParseSpec parses an address as Postfix writes it: inet:host:port, where host is a name, an IPv4 address or an IPv6
// address in brackets, and port is a number or the name of a service; or unix:/path. It returns the arguments for the
// functions of package net. The error is a *SpecError.
func ParseSpec(spec string) (network, address string, err error) {
	kind, rest, found := strings.Cut(spec, ":")
	switch {
	case found && kind == "unix":
		return parseUnixSpec(spec, rest)
	case found && kind == "inet":
		return parseInetSpec(spec, rest)
	}
	return "", "", &SpecError{Spec: spec, Msg: "it begins with neither inet: nor unix:"}
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
		return "tcp4", hostPort, nil // "tcp" would make 0.0.0.0 listen on IPv6 too
	}
	return "tcp", hostPort, nil
}

// SpecOf returns an address of a listener in the form that ParseSpec parses.
func SpecOf(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}

// Listen listens on an address in the form of ParseSpec. A host name with several addresses listens on one of them,
// IPv4 preferred.
//
// A UNIX socket has its mode and group before any process can connect to it. A socket file that no process serves any
// more is replaced atomically. If another process serves the address, Listen fails; a file that is not a socket is
// never removed. Close removes the socket file if it is still this listener's, unless opt.Keep is set.
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
		return nil, fmt.Errorf("listen on %s: %w", spec, errInUse)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", spec, err)
	}
	return ln, nil
}

// Adopt returns a listener on the socket of a descriptor, which Listen opened on the same address in an earlier
// process. Adopt duplicates the descriptor; the caller closes file. A UNIX socket gets the mode and the group of opt.
// An error means that the socket is of no more use, for example because its file is gone: the caller should call
// Listen.
func Adopt(spec string, file *os.File, opt ListenOptions) (net.Listener, error) {
	network, address, err := ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("adopt the socket of %s: %w", spec, err)
	}
	unix, isUnix := ln.(*net.UnixListener)
	if isUnix != (network == "unix") {
		ln.Close()
		return nil, &SpecError{Spec: spec, Msg: "the socket is of another type: " + ln.Addr().Network()}
	}
	if isUnix {
		return adoptUnix(unix, address, opt)
	}
	return ln, nil
}

// resolve returns the options as the system calls need them; a gid of -1 leaves the group unchanged.
func (opt ListenOptions) resolve() (mode fs.FileMode, gid int, err error) {
	mode = opt.Mode
	if mode == 0 {
		mode = defaultSocketMode
	}
	if mode&^0o777 != 0 {
		return 0, 0, fmt.Errorf("socket mode %#o: only permission bits (up to 0777) are possible", uint32(opt.Mode))
	}
	if opt.Group == "" {
		return mode, -1, nil
	}
	if gid, err := strconv.ParseUint(opt.Group, 10, 31); err == nil {
		return mode, int(gid), nil
	}
	group, err := user.LookupGroup(opt.Group)
	if err != nil {
		return 0, 0, fmt.Errorf("socket group %q: %w", opt.Group, err)
	}
	gid, err = strconv.Atoi(group.Gid)
	return mode, gid, err
}
