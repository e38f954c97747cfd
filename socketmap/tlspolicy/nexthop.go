package tlspolicy

import (
	"net"
	"net/netip"
	"strings"

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
// `[mail.example.com]:submission`, an address literal, a UNIX path, or `.example.com`, which Postfix asks after NOTFOUND
// though a parent's policy must not be used (RFC 8461 section 3.4). What is none of these is NoDomain too.
func ParseNextHop(key string) NextHop {
	host, service, direct, ok := split(key)
	if !ok {
		return NoDomain{}
	}
	name, err := dnsname.Parse(host)
	if err != nil {
		return NoDomain{}
	}
	return Domain{resolver.Destination{Domain: name, Port: port(service), Direct: direct}}
}

// split takes brackets and service off a next hop; false where what is left cannot be a host name.
func split(key string) (host, service string, direct, ok bool) {
	if key == "" || key[0] == '.' || key[0] == '/' {
		return "", "", false, false
	}
	if key[0] != '[' {
		host, service, some := strings.Cut(key, ":")
		return host, service, false, !some || isService(service) // not a bare IPv6 address, among others
	}
	host, rest, closed := strings.Cut(key[1:], "]")
	service, some := strings.CutPrefix(rest, ":")
	if !closed || isLiteral(host) || (rest != "" && !(some && isService(service))) {
		return "", "", false, false
	}
	return host, service, true, true
}

// isLiteral reports whether the text between brackets is an address: `192.0.2.1`, `2001:db8::1`, `IPv6:2001:db8::1`.
func isLiteral(s string) bool {
	if strings.Contains(s, ":") {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isService accepts a port or a service's name: letters, digits and hyphens (RFC 6335), and underscores, which
// /etc/services may hold.
func isService(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// port is the number of a service, as Postfix finds it in /etc/services; 0, which is the default, for port 25, for no
// service, and for one that this host does not know: Postfix cannot deliver there anyway.
func port(service string) uint16 {
	if service == "" || service == "smtp" {
		return 0
	}
	n, err := net.LookupPort("tcp", service)
	if err != nil || n == 25 {
		return 0
	}
	return uint16(n)
}
