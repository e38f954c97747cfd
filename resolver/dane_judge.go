package resolver

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// maxMXHosts bounds the MX hosts of a domain that are judged, the most preferred first. The rest count for nothing:
// Postfix tries 5 addresses (smtp_mx_address_limit) and will hardly come to them, and if it does, `dane-only` still
// refuses a host without TLSA records.
const maxMXHosts = 20

// daneFacts is what the DNS said of a domain's DANE.
type daneFacts struct {
	err   error         // the MX lookup failed: nothing is known
	hosts []mxHost      // that mail can go to by a secure MX lookup; empty: there are none
	ttl   time.Duration // the smallest of all that was used
}

// mxHost is what the DNS said of one MX host.
type mxHost struct {
	state hostState
	err   error // for hostUnknown
	ttl   time.Duration
}

// hostState is what the DNS says of a mail host's DANE.
type hostState uint8

const (
	hostUnknown  hostState = iota // a lookup failed
	hostAway                      // no addresses: no mail can go there
	hostPlain                     // not signed, or no TLSA records: DANE does not apply (RFC 7672 section 2.2)
	hostUnusable                  // secure TLSA records, none of them usable: Postfix encrypts, without authentication
	hostUsable                    // secure, usable TLSA records
)

// judgeDANE is total: all that can be found has a status. The error is the reason for DANEFailed; with DANEPartly it
// says that lookups failed for some hosts, which may well have DANE too.
//
// A host that could not be looked up decides nothing where another has DANE: under `dane` Postfix looks for itself and
// defers what it cannot look up (RFC 7672 section 2.1.2). Where no host is known to have DANE, it decides all: MTA-STS
// would let the delivery pass that the host's TLSA records, had they been seen, might have stopped.
func judgeDANE(f daneFacts) (DANEStatus, error) {
	if f.err != nil {
		return DANEFailed, f.err
	}
	count := map[hostState]int{}
	var failure error
	for _, h := range f.hosts {
		count[h.state]++
		if h.state == hostUnknown && failure == nil {
			failure = h.err
		}
	}
	if more := count[hostUnknown] - 1; more > 0 {
		failure = fmt.Errorf("%w (and %d more of its MX hosts)", failure, more)
	}
	switch {
	case count[hostUsable]+count[hostUnusable] > 0:
		if count[hostUnusable]+count[hostPlain]+count[hostUnknown] == 0 {
			return DANEFully, nil
		}
		return DANEPartly, failure
	case count[hostUnknown] > 0:
		return DANEFailed, failure
	default:
		return DANENone, nil
	}
}

// mxHosts returns the names of the hosts whose DANE counts for a domain: those of a secure answer, without duplicates.
//
// Behind an MX answer that DNSSEC does not prove there is no DANE that counts, although Postfix's `dane` tries it there
// too (RFC 7672 section 2.2.1 lets it; smtp_tls_dane_insecure_mx_policy). Postfix refuses `dane-only` for such a
// domain. And to answer `dane` would be a way around MTA-STS: who can forge the MX answer, and that is the attacker whom
// MTA-STS is made for, names a host of his own, with TLSA records or without any. MTA-STS proves the names of the MX
// hosts by HTTPS, and every certificate by its name: that is the more.
//
// A domain that does not exist, or that takes no mail (a null MX, RFC 7505), has no hosts: Postfix bounces by itself. One
// without MX records is its own host (RFC 5321 section 5.1), as far as the denial is secure.
func mxHosts(domain dnsname.Name, mx dnsclient.Answer[dnsclient.MX]) []string {
	if !mx.Authentic || mx.Denial == dnsclient.NXDomain {
		return nil
	}
	if mx.Denial == dnsclient.NoData {
		return []string{domain.String()}
	}
	var hosts []string
	for _, r := range mx.Records {
		if r.Host != "" && !slices.Contains(hosts, r.Host) && len(hosts) < maxMXHosts {
			hosts = append(hosts, r.Host)
		}
	}
	return hosts
}

// hostAddresses is what both address lookups for a host came to.
type hostAddresses struct {
	err    error // of a lookup, and the other found no addresses
	exist  bool
	secure bool   // DNSSEC proves all of them, and the CNAMEs that lead there
	target string // where the host's CNAMEs lead to; "" if it has none
	ttl    time.Duration
}

// looked is the result of one address lookup.
type looked struct {
	answer dnsclient.Answer[netip.Addr]
	err    error
}

// addressesOf puts the A and AAAA lookups of a host together. One of them may fail if the other finds addresses: Postfix
// delivers to those then.
func addressesOf(both ...looked) hostAddresses {
	found := hostAddresses{secure: true, ttl: maxDANETTL}
	denied := maxDANETTL
	var err error
	for _, l := range both {
		switch {
		case l.err != nil:
			err = l.err
		case l.answer.Denial != dnsclient.Exists:
			denied = min(denied, l.answer.TTL)
		default:
			found.exist = true
			found.secure = found.secure && l.answer.Authentic
			found.ttl = min(found.ttl, l.answer.TTL)
			found.target = l.answer.Target
		}
	}
	if found.exist {
		return found
	}
	return hostAddresses{err: err, ttl: denied}
}

// judgeTLSA is the state of a host whose TLSA records these are. Records, and denials, that are not secure are none
// (RFC 7672 section 2.2).
func judgeTLSA(a dnsclient.Answer[dnsclient.TLSA]) hostState {
	switch {
	case !a.Authentic || a.Denial != dnsclient.Exists:
		return hostPlain
	case slices.ContainsFunc(a.Records, usableTLSA):
		return hostUsable
	default:
		return hostUnusable
	}
}

// The fields of TLSA records (RFC 6698 section 2.1, names of RFC 7218) that mail uses: a host's certificate can be pinned
// without the public CAs only (RFC 7672 section 3.1.3).
const (
	usageDANETA  = 2
	usageDANEEE  = 3
	selectorCert = 0
	selectorSPKI = 1
	matchFull    = 0
	matchSHA256  = 1
	matchSHA512  = 2
)

// usableTLSA reports whether Postfix could match a certificate with the record. Where it is stricter than Postfix, which
// can only be with a whole certificate or key, the answer is `dane`, and Postfix's own judgement holds; it must not be
// laxer, for under `dane-only` Postfix refuses a host that has unusable records only.
func usableTLSA(r dnsclient.TLSA) bool {
	if r.Usage != usageDANETA && r.Usage != usageDANEEE {
		return false
	}
	if r.Selector != selectorCert && r.Selector != selectorSPKI {
		return false
	}
	switch r.MatchingType {
	case matchSHA256:
		return len(r.Data) == sha256.Size
	case matchSHA512:
		return len(r.Data) == sha512.Size
	case matchFull:
		if r.Selector == selectorSPKI {
			_, err := x509.ParsePKIXPublicKey(r.Data)
			return err == nil
		}
		c, err := x509.ParseCertificate(r.Data)
		return err == nil && c.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm
	default:
		return false
	}
}
