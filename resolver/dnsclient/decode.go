package dnsclient

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

func decodeTXT(rr dns.RR) string {
	strs := rr.(*dns.TXT).Txt
	if len(strs) == 1 {
		return unescape(strs[0])
	}
	var b strings.Builder
	for _, s := range strs {
		b.WriteString(unescape(s))
	}
	return b.String()
}

func decodeA(rr dns.RR) netip.Addr {
	a, _ := netip.AddrFromSlice(rr.(*dns.A).A)
	return a.Unmap()
}

func decodeAAAA(rr dns.RR) netip.Addr {
	a, _ := netip.AddrFromSlice(rr.(*dns.AAAA).AAAA)
	return a
}

func decodeMX(rr dns.RR) MX {
	mx := rr.(*dns.MX)
	return MX{Preference: mx.Preference, Host: strings.TrimSuffix(dns.CanonicalName(mx.Mx), ".")}
}

func decodeTLSA(rr dns.RR) TLSA {
	t := rr.(*dns.TLSA)
	data, _ := hex.DecodeString(t.Certificate) // valid: the library has encoded it
	return TLSA{Usage: t.Usage, Selector: t.Selector, MatchingType: t.MatchingType, Data: data}
}

func equal[T comparable](a, b T) bool { return a == b }
