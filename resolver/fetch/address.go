package fetch

import "net/netip"

// specialPrefixes are the address blocks that no policy host on the Internet has: a domain that points
// `mta-sts.<domain>` there wants stsmapd to connect to a host inside the administrator's own network. They are from
// IANA's special-purpose address registries; of IPv6 only those in 2000::/3, because nothing outside of it is public.
func specialPrefixes() []netip.Prefix {
	blocks := []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "3fff::/20",
	}
	out := make([]netip.Prefix, len(blocks))
	for i, b := range blocks {
		out[i] = netip.MustParsePrefix(b)
	}
	return out
}

// addressFilter tells public addresses from special ones.
type addressFilter struct {
	global  netip.Prefix // all of IPv6 that IANA gives out as global unicast (RFC 3587)
	special []netip.Prefix
}

func newAddressFilter() addressFilter {
	return addressFilter{global: netip.MustParsePrefix("2000::/3"), special: specialPrefixes()}
}

// public reports whether a is an ordinary address of the public Internet. An IPv6 address that carries an IPv4 address
// (mapped, NAT64, 6to4) is as public as that one.
func (f addressFilter) public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = embedded(a.Unmap())
	if a.Is6() && !f.global.Contains(a) {
		return false
	}
	for _, p := range f.special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// embedded returns the IPv4 address that a NAT64 (RFC 6052) or 6to4 (RFC 3056) address leads to, else a itself.
func embedded(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	b := a.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}:
		return netip.AddrFrom4([4]byte(b[12:]))
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}
