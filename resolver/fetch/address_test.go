package fetch

import (
	"net/netip"
	"testing"
)

func TestAddressPublic(t *testing.T) {
	f := newAddressFilter()
	for _, c := range []struct {
		why  string
		addr string
		want bool
	}{
		{"an ordinary IPv4 address", "8.8.4.4", true},
		{"an ordinary IPv6 address", "2a00:1450:4001::1", true},
		{"the last address before a private block", "9.255.255.255", true},
		{"the first address after a private block", "11.0.0.0", true},
		{"172.16.0.0/12 begins", "172.16.0.0", false},
		{"and ends", "172.31.255.255", false},
		{"and no sooner", "172.15.255.255", true},
		{"nor later", "172.32.0.0", true},
		{"the unspecified address: Linux connects to itself", "0.0.0.0", false},
		{"this network (RFC 791)", "0.1.2.3", false},
		{"private (RFC 1918)", "10.0.0.1", false},
		{"private (RFC 1918)", "192.168.1.1", false},
		{"carrier-grade NAT (RFC 6598)", "100.64.0.1", false},
		{"just past carrier-grade NAT", "100.128.0.0", true},
		{"loopback", "127.0.0.1", false},
		{"loopback is a /8", "127.255.255.254", false},
		{"link-local: the metadata service of clouds", "169.254.169.254", false},
		{"IETF protocol assignments (RFC 6890)", "192.0.0.1", false},
		{"documentation (RFC 5737)", "192.0.2.1", false},
		{"documentation (RFC 5737)", "198.51.100.1", false},
		{"documentation (RFC 5737)", "203.0.113.1", false},
		{"6to4 relays (RFC 7526)", "192.88.99.1", false},
		{"benchmarking (RFC 2544)", "198.19.255.255", false},
		{"multicast", "224.0.0.1", false},
		{"multicast ends", "239.255.255.255", false},
		{"reserved (RFC 1112)", "240.0.0.1", false},
		{"broadcast", "255.255.255.255", false},

		{"unspecified", "::", false},
		{"loopback", "::1", false},
		{"IPv4-compatible (RFC 4291)", "::8.8.4.4", false},
		{"mapped: as public as its IPv4 address", "::ffff:8.8.4.4", true},
		{"mapped loopback", "::ffff:127.0.0.1", false},
		{"mapped private", "::ffff:10.0.0.1", false},
		{"IPv4-translated (RFC 2765)", "::ffff:0:10.0.0.1", false},
		{"NAT64 (RFC 6052) to a public address, as DNS64 makes it", "64:ff9b::8.8.4.4", true},
		{"NAT64 to a private address", "64:ff9b::10.0.0.1", false},
		{"NAT64 to loopback", "64:ff9b::7f00:1", false},
		{"NAT64 for local use (RFC 8215)", "64:ff9b:1::8.8.4.4", false},
		{"6to4 (RFC 3056) of a public address", "2002:808:404::1", true},
		{"6to4 of a private address", "2002:c0a8:101::1", false},
		{"6to4 of loopback", "2002:7f00:1::", false},
		{"Teredo (RFC 4380)", "2001::1", false},
		{"ORCHIDv2 (RFC 7343)", "2001:20::1", false},
		{"2001::/23 ends", "2001:1ff:ffff::1", false},
		{"and no later", "2001:200::1", true},
		{"discard only (RFC 6666)", "100::1", false},
		{"dummy prefix (RFC 9780)", "100:0:0:1::1", false},
		{"documentation (RFC 3849)", "2001:db8::1", false},
		{"documentation (RFC 9637)", "3fff:fff::1", false},
		{"just past it", "3fff:1000::1", true},
		{"segment routing (RFC 9602)", "5f00::1", false},
		{"not given out by IANA", "4000::1", false},
		{"unique local (RFC 4193)", "fd00::1", false},
		{"unique local (RFC 4193)", "fc00::1", false},
		{"link-local", "fe80::1", false},
		{"a zone makes sense on one link only", "2a00:1450:4001::1%eth0", false},
		{"site-local (RFC 3879)", "fec0::1", false},
		{"multicast", "ff0e::1", false},
	} {
		if got := f.public(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: public(%s) = %v", c.why, c.addr, got)
		}
	}
	if f.public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}
