package tlspolicy

import (
	"bytes"
	"net"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// NextHop is what Postfix asks about: Domain or NoDomain.
type NextHop interface{ nextHop() }

// Domain is a next hop with a policy domain, a smart host's name included (RFC 8461 section 3.4).
type Domain struct{ resolver.Destination }

// NoDomain is a next hop that can have no policy: answer NOTFOUND, without DNS and without a log line.
type NoDomain struct{}

func (Domain) nextHop()   {}
func (NoDomain) nextHop() {}

// ParseNextHop parses a lookup key of smtp_tls_policy_maps: `example.com`, `example.com:587`, `[mail.example.com]`,
// `[mail.example.com]:submission`, an address literal, a UNIX path, or `.example.com`, which Postfix asks after
// NOTFOUND though a parent's policy must not be used (RFC 8461 section 3.4). What is none of these is NoDomain too.
func ParseNextHop(key string) NextHop {
	hop, ok := split([]byte(key))
	if !ok {
		return NoDomain{}
	}
	return Domain{resolver.Destination{Domain: hop.host.Name(), Port: port(hop.service), Direct: hop.direct}}
}

// hop is a next hop with a policy domain, in the bytes of the key.
type hop struct {
	host    dnsname.View
	service []byte // empty: none was given
	direct  bool
}

// split takes brackets and service off a next hop; false where what is left is no host name.
func split(key []byte) (h hop, ok bool) {
	if len(key) == 0 || key[0] == '.' || key[0] == '/' {
		return h, false
	}
	host, some := key, false
	if key[0] == '[' {
		var rest []byte
		var closed bool
		h.direct = true
		host, rest, closed = bytes.Cut(key[1:], []byte("]"))
		h.service, some = bytes.CutPrefix(rest, []byte(":"))
		if !closed || !some && len(rest) > 0 {
			return h, false
		}
	} else {
		host, h.service, some = bytes.Cut(key, []byte(":"))
	}
	if some && !isService(h.service) { // a bare IPv6 address, among others
		return h, false
	}
	h.host, ok = dnsname.ParseView(host)
	return h, ok
}

// question is what a Postfix of these features wants to know of the next hop. Only DANE asks for the port.
func (h hop) question(f Features) resolver.Glimpse {
	g := resolver.Glimpse{Domain: h.host, Direct: h.direct, Strict: f.Strict, DANE: f.DANE}
	if f.DANE {
		g.Port = port(h.service)
	}
	return g
}

// isService accepts a port or a service's name: letters, digits and hyphens (RFC 6335), and underscores, which
// /etc/services may hold.
func isService(s []byte) bool {
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for _, c := range s {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// port is the number of a service, as Postfix finds it in /etc/services; 0, which is the default, for port 25, for no
// service, and for one that this host does not know: Postfix cannot deliver there anyway.
func port(service []byte) uint16 {
	if len(service) == 0 || string(service) == "smtp" {
		return 0
	}
	n, err := net.LookupPort("tcp", string(service))
	if err != nil || n == 25 {
		return 0
	}
	return uint16(n)
}
