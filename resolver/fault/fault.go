// Package fault says whether a network error is a fault of the domain or of this host. A caller that treats a fault of
// this host as the domain's answer removes the domain's protection because this host lacks descriptors, roots or a
// route.
package fault

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Kind says whose fault an error is. The zero Kind is Domain.
type Kind uint8

// The kinds of faults.
const (
	// Domain: the domain, its DNS or its hosts failed. The caller may cache and report the error.
	Domain Kind = iota
	// Host: this host lacks something that waiting does not bring: trusted roots, a proxy, a route. Nothing is known
	// about the domain. RFC 8461 section 3.3 allows its mail to be delivered; the caller must tell the administrator.
	Host
	// Exhausted: this host lacks descriptors, memory or ports now, or a limit of stsmapd is reached. Nothing is known
	// about the domain. Its mail must wait; otherwise anyone who can use up this host's resources could remove the
	// domain's protection.
	Exhausted
)

// String returns a stable word for logs and metrics.
func (k Kind) String() string {
	switch k {
	case Domain:
		return "domain"
	case Host:
		return "host"
	case Exhausted:
		return "exhausted"
	}
	return "invalid"
}

// Error marks an error as one of this host, for errors that Judge cannot recognize: no roots, a failed proxy, a limit
// of stsmapd.
type Error struct {
	Kind Kind
	Cure string // what to correct on this host, a clause without a full stop; "" if Err says it
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns whose fault err is; Domain for nil.
//
// A joined error is Exhausted if one of its parts is: an address that was not tried for lack of a descriptor might have
// worked. Otherwise it is the domain's if one of its parts is: if IPv6 has no route and IPv4 is refused, the domain has
// refused the connection.
func Of(err error) Kind { return Judge(err).Kind }

// Judgement says whose fault an error is, and what to do about it.
type Judgement struct {
	Kind Kind
	Cure string // what to correct on this host; "" if Kind is Domain or the error says it
}

// Judge returns whose fault err is, as Of does, with the cure.
func Judge(err error) Judgement {
	switch e := err.(type) {
	case nil:
		return Judgement{}
	case syscall.Errno:
		return judgeErrno(e)
	case *net.OpError:
		if lacksIPv6(e) {
			return Judgement{Host, cureRoute}
		}
		return Judge(e.Err)
	case *Error:
		if inner := Judge(e.Err); inner.Kind == Exhausted {
			return inner
		}
		return Judgement{e.Kind, e.Cure}
	case interface{ Unwrap() error }:
		return Judge(e.Unwrap())
	case interface{ Unwrap() []error }:
		return judgeParts(e.Unwrap())
	}
	return Judgement{}
}

// WithCure begins an error of this host with what to repair, where that is known. Other errors are returned as they
// are.
func WithCure(err error) error {
	if cure := Judge(err).Cure; cure != "" {
		return fmt.Errorf("%s: %w", cure, err)
	}
	return err
}

// judgeParts judges a joined error.
func judgeParts(parts []error) Judgement {
	var all [Exhausted + 1]*Judgement
	for _, part := range parts {
		if j := Judge(part); all[j.Kind] == nil {
			all[j.Kind] = &j
		}
	}
	for _, k := range [...]Kind{Exhausted, Domain, Host} {
		if all[k] != nil {
			return *all[k]
		}
	}
	return Judgement{}
}

const (
	cureRoute    = "check this host's network interfaces and routes"
	cureFirewall = "check this host's firewall, and the sandbox of the service"
)

// judgeErrno judges an error of the kernel. It counts ENETUNREACH and EHOSTUNREACH as the domain's, because a router
// near the domain may have sent them. A caller that knows that this host has no route wraps them in an Error.
func judgeErrno(e syscall.Errno) Judgement {
	switch e {
	case syscall.EMFILE:
		return Judgement{Exhausted, "stsmapd is out of file descriptors: raise LimitNOFILE= of the service"}
	case syscall.ENFILE:
		return Judgement{Exhausted, "this machine is out of file descriptors: raise fs.file-max"}
	case syscall.ENOBUFS, syscall.ENOMEM:
		return Judgement{Exhausted,
			"out of memory for sockets: check this machine's memory and MemoryMax= of the service"}
	case syscall.EADDRNOTAVAIL:
		return Judgement{Exhausted, "out of local ports: widen net.ipv4.ip_local_port_range"}
	case syscall.ENETDOWN:
		return Judgement{Host, cureRoute}
	case syscall.EPERM, syscall.EACCES:
		return Judgement{Host, cureFirewall}
	case syscall.EAFNOSUPPORT:
		return Judgement{Host, "this host lacks the protocol of the address (IPv4 or IPv6)"}
	}
	return Judgement{}
}

// lacksIPv6 reports whether a dial failed because this host has no IPv6 address. The kernel then returns EADDRNOTAVAIL,
// as it does if no port is free.
func lacksIPv6(e *net.OpError) bool {
	var ip net.IP
	switch a := e.Addr.(type) {
	case *net.TCPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	}
	return ip != nil && ip.To4() == nil && errors.Is(e.Err, syscall.EADDRNOTAVAIL)
}
