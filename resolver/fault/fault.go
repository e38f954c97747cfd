// Package fault says whose fault an error of the network is. An error of this host is never the domain's word: a
// caller that takes it for one gives up a domain's protection because this host lacks descriptors, roots or a route.
package fault

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Kind is whose fault an error is. The zero Kind is Domain.
type Kind uint8

// The kinds of faults.
const (
	// Domain: the error says something about the domain, its DNS or its hosts. It may be remembered and reported.
	Domain Kind = iota
	// Host: this host lacks what no waiting brings: trusted roots, a proxy, a route. Nothing was learnt of the
	// domain. RFC 8461 section 3.3 lets its mail pass; the administrator of this host must be told.
	Host
	// Exhausted: this host lacks descriptors, memory or ports for now, or a limit of stsmapd was reached. Nothing
	// was learnt of the domain. Its mail must wait, or anyone who can use up this host's resources can take its
	// protection away.
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

// Error is an error of this host that only its maker can tell from one of the domain: no roots, a dead proxy, an own
// limit.
type Error struct {
	Kind Kind
	Cure string // what to mend on this host, a clause without a full stop; "" where Err says it
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns whose fault err is; Domain for nil.
//
// An error of several parts is Exhausted if one of them is: what was not tried for lack of a descriptor might have
// worked. Else it is the domain's if one of them is: it is no fault of this host that IPv6 has no route where IPv4
// was refused.
func Of(err error) Kind { return Judge(err).Kind }

// Judgement is whose fault an error is, and what to do about it.
type Judgement struct {
	Kind Kind
	Cure string // what to mend on this host; "" where Kind is Domain, or the error says it
}

// Judge returns whose fault err is, by the rule of Of, with the cure.
func Judge(err error) Judgement {
	switch e := err.(type) {
	case nil:
		return Judgement{}
	case syscall.Errno:
		return ofErrno(e)
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
		return together(e.Unwrap())
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

// together judges an error of several parts.
func together(parts []error) Judgement {
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

// ofErrno judges an error of the kernel. ENETUNREACH and EHOSTUNREACH are the domain's here: a router far away may
// have said so. Who knows that this host has no route wraps them in an Error.
func ofErrno(e syscall.Errno) Judgement {
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

// lacksIPv6 reports whether a dial failed because this host has no address to connect to IPv6 from: the kernel says
// that with the error for a want of ports.
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
