// Package fair shares out what a flood could take for itself: slots for lookups and fetches, and the room for policies.
//
// What is shared out is accounted to an Owner: the registrable domain, which costs money or at least effort to get, and
// the network of the policy host. A flood has many domains but few owners.
package fair

import (
	"net/netip"

	"golang.org/x/net/publicsuffix"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Owner is a registrable domain or a network. The zero Owner is unknown: nothing is accounted to it.
type Owner struct {
	domain  string
	network Network
}

// Owners are all to whom a domain's lookup, fetch or policy is accounted.
type Owners [2]Owner

// Of returns the owners of a domain, and of its policy host's network where that is known.
func Of(domain dnsname.Name, network Network) Owners {
	return Owners{{domain: Registrable(domain)}, {network: network}}
}

// At returns the same owners with another network.
func (o Owners) At(network Network) Owners { return Owners{o[0], {network: network}} }

// Registrable returns the domain that is registered below a public suffix, such as example.co.uk for a.example.co.uk
// (https://publicsuffix.org); a public suffix is its own.
func Registrable(domain dnsname.Name) string {
	registrable, err := publicsuffix.EffectiveTLDPlusOne(domain.String())
	if err != nil {
		return domain.String()
	}
	return registrable
}

// Network is the /24 or /48 of an address, in a form that takes little memory and can be stored; the zero Network is
// unknown.
type Network uint64

// The upper byte says of which family the lower ones are.
const (
	network4 Network = 4 << 56
	network6 Network = 6 << 56
)

// NetworkOf returns the network of an address; the zero Network for the zero Addr.
func NetworkOf(a netip.Addr) Network {
	family, b, n := network6, a.AsSlice(), 6
	switch a = a.Unmap(); {
	case !a.IsValid():
		return 0
	case a.Is4():
		family, b, n = network4, a.AsSlice(), 3
	}
	for _, c := range b[:n] {
		family += Network(c) << (8 * (n - 1))
		n--
	}
	return family
}
