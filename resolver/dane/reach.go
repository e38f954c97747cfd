package dane

import (
	"math"
	"net/netip"
	"slices"
)

// mxAddressLimit is how many addresses of a destination Postfix tries (smtp_mx_address_limit). A host that it refuses
// under dane-only counts as one.
const mxAddressLimit = 5

// addressCount is how many addresses there are, of each family.
type addressCount struct{ v4, v6 int }

func (c addressCount) total() int { return c.v4 + c.v6 }

func (c addressCount) plus(o addressCount) addressCount {
	return addressCount{c.v4 + o.v4, c.v6 + o.v6}
}

// countAddress counts one address.
func countAddress(ip netip.Addr) addressCount {
	if ip.Unmap().Is4() {
		return addressCount{v4: 1}
	}
	return addressCount{v6: 1}
}

// inReach reports whether the host at that index can have one of the first five addresses that Postfix tries, with its
// default settings and in some order: Postfix sorts by preference and shuffles hosts and addresses of the same
// preference. A host whose addresses could not be looked up may have one of each family; until that is known it takes
// none from the others.
//
// smtp_address_preference makes some of these orders more likely, and no other possible.
func inReach(hosts []mxHost, at int) bool {
	hosts = slices.Clone(hosts)
	own := &hosts[at]
	if own.state == HostUnknown && own.addresses.total() == 0 {
		own.addresses = addressCount{1, 1}
	}
	best := uint16(math.MaxUint16)
	for _, h := range hosts {
		if h.addresses.total() > 0 {
			best = min(best, h.preferences[0])
		}
	}
	var all, better, first addressCount // better: of a smaller preference than the host's; first: of the smallest
	for _, h := range hosts {
		for _, p := range h.preferences {
			all = all.plus(h.addresses)
			if p < own.preferences[0] {
				better = better.plus(h.addresses)
			}
			if p == best {
				first = first.plus(h.addresses)
			}
		}
	}
	if all.v4 > 0 && all.v6 > 0 && all.total() > mxAddressLimit {
		kept := balance(all, first)
		return own.addresses.v4 > 0 && better.v4 < kept.v4 || own.addresses.v6 > 0 && better.v6 < kept.v6
	}
	return own.addresses.total() > 0 && better.total() < mxAddressLimit
}

// balance returns how many addresses of each family Postfix keeps at most where there are too many
// (smtp_balance_inet_protocols, since 3.3): half of them each, or more of one family where the other has less. The odd
// one goes to the family of the first address, which is one of those in first.
func balance(all, first addressCount) addressCount {
	const half = mxAddressLimit / 2
	switch {
	case all.v6 <= half:
		return addressCount{mxAddressLimit - all.v6, all.v6}
	case all.v4 <= half:
		return addressCount{all.v4, mxAddressLimit - all.v4}
	}
	kept := addressCount{half, half}
	if first.v4 > 0 {
		kept.v4++
	}
	if first.v6 > 0 {
		kept.v6++
	}
	return kept
}
