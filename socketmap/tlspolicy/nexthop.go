package tlspolicy

import (
	"bytes"
	"net"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// NextHop is the next hop that Postfix asks for: a Domain or NoDomain.
type NextHop interface{ nextHop() }

// Domain is a next hop with a policy domain, a smart host's name included (RFC 8461 section 3.4).
type Domain struct{ dane.Destination }

// NoDomain is a next hop that cannot have a policy. It is answered NOTFOUND without a lookup or a log line.
type NoDomain struct{}

func (Domain) nextHop()   {}
func (NoDomain) nextHop() {}

// ParseNextHop parses a lookup key of smtp_tls_policy_maps: `example.com`, `example.com:587`, `[mail.example.com]`,
// `[mail.example.com]:submission`, an address literal, a UNIX path, or `.example.com`, which Postfix asks after
// NOTFOUND although a parent's policy must not be used (RFC 8461 section 3.4). A colon without a service means the
// default port. Every other key is NoDomain.
func ParseNextHop(key string) NextHop {
	hop, ok := parseHop([]byte(key))
	if !ok {
		return NoDomain{}
	}
	return Domain{dane.Destination{Domain: hop.host, Port: port(hop.service), Direct: hop.direct}}
}

// hop is a next hop with a policy domain. Its service is a part of the key.
type hop struct {
	host    dnsname.Name
	service []byte // empty: the default port
	direct  bool
}

// parseHop parses a next hop into host and service. It returns false if the host is not a host name.
func parseHop(key []byte) (h hop, ok bool) {
	if len(key) == 0 || key[0] == '.' || key[0] == '/' {
		return h, false
	}
	host, rest, closed := key, []byte(nil), true
	if key[0] == '[' {
		h.direct = true
		host, rest, closed = bytes.Cut(key[1:], []byte("]"))
	} else if colon := bytes.IndexByte(key, ':'); colon >= 0 {
		host, rest = key[:colon], key[colon:]
	}
	service, found := bytes.CutPrefix(rest, []byte(":"))
	if !closed || !found && len(rest) > 0 || !isService(service) { // a bare IPv6 address, among others
		return h, false
	}
	h.service = service
	h.host, ok = dnsname.ParseBytes(host)
	return h, ok
}

// question returns the question of a Postfix with these features for the next hop. Only DANE needs the port.
func (h hop) question(f Features) resolver.Question {
	q := resolver.Question{Destination: dane.Destination{Domain: h.host, Direct: h.direct}, Strict: f.Strict,
		DANE: f.DANE}
	if f.DANE {
		q.Port = port(h.service)
	}
	return q
}

// isService reports whether s is a port or the name of a service: letters, digits and hyphens (RFC 6335), and
// underscores, which /etc/services may contain. An empty s is the default port.
func isService(s []byte) bool {
	if len(s) > 63 {
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

// port returns the number of a service, as Postfix finds it in /etc/services. It returns 0 for port 25, for no service,
// and for a service that this host does not know, to which Postfix cannot deliver either.
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
