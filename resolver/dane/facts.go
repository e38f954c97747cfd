package dane

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// maxMXHosts bounds the MX hosts of a domain that are looked up, the most preferred first. Postfix tries five
// addresses, so the rest could only count where more hosts than this share one preference, or have no addresses.
const maxMXHosts = 50

// facts is what the DNS said of a domain's DANE.
type facts struct {
	err   error         // the MX lookup failed: nothing is known
	hosts []mxHost      // that mail can go to by a secure MX lookup; empty: there are none
	ttl   time.Duration // the smallest of all that was used
}

// mxHost is what the DNS said of one MX host.
type mxHost struct {
	name        string
	preferences []uint16 // of each MX record that names it, the smallest first
	addresses   addressCount
	state       HostState
	err         error // for HostUnknown
	ttl         time.Duration

	// The name whose TLSA records decided, "_25._tcp.mx.example.com", "" where no lookup of them was necessary; and its
	// records, as far as they are secure.
	at      string
	records []dnsclient.TLSA
}

// HostState is what the DNS says of a mail host's DANE.
type HostState uint8

// The states of an MX host.
const (
	HostUnknown  HostState = iota // a lookup failed
	HostAway                      // no addresses: no mail can go there
	HostPlain                     // not signed, or no TLSA records: DANE does not apply (RFC 7672 section 2.2)
	HostUnusable                  // secure TLSA records, none of them usable
	HostUsable                    // secure, usable TLSA records
)

// String returns a stable word.
func (s HostState) String() string {
	if s > HostUsable {
		return "invalid"
	}
	return [...]string{"unknown", "no_address", "plain", "unusable", "usable"}[s]
}

// judge is total: all that can be found has a status. The error is the reason for Failed.
//
// One host with usable TLSA records decides, whatever is known of the others: under dane-only Postfix uses each host
// with DANE, or not at all. Where there is none, a host that could not be looked up may be one, and the mail waits:
// MTA-STS could let a delivery pass that the host's TLSA records would stop. Hosts that Postfix would not come to do
// not count.
func judge(f facts) (Status, error) {
	if f.err != nil {
		return Failed, f.err
	}
	var failures []error
	for i, h := range f.hosts {
		switch {
		case h.state != HostUsable && h.state != HostUnknown || !inReach(f.hosts, i):
		case h.state == HostUsable:
			return Usable, nil
		default:
			failures = append(failures, h.err)
		}
	}
	switch len(failures) {
	case 0:
		return None, nil
	case 1:
		return Failed, failures[0]
	default:
		return Failed, fmt.Errorf("%w (and %d more of its MX hosts)", failures[0], len(failures)-1)
	}
}

// mxRecords returns the MX records whose hosts' DANE counts for a domain: those of a secure answer.
//
// Behind an MX answer that DNSSEC does not prove there is no DANE that counts. Postfix refuses every host of such a
// domain under dane-only. Under dane it would try the TLSA records of the hosts named
// (smtp_tls_dane_insecure_mx_policy), but who can forge the MX answer names hosts with other records, or with none.
// MTA-STS proves the names of the MX hosts.
//
// A domain that does not exist, or that takes no mail (a null MX, RFC 7505), has no hosts: Postfix bounces by itself.
// One without MX records is its own host (RFC 5321 section 5.1), as far as the denial is secure.
func mxRecords(domain dnsname.Name, mx dnsclient.Answer[dnsclient.MX]) []dnsclient.MX {
	switch {
	case !mx.Authentic || mx.Denial == dnsclient.NXDomain:
		return nil
	case mx.Denial == dnsclient.NoData:
		return []dnsclient.MX{{Host: domain.String()}}
	}
	return slices.DeleteFunc(slices.Clone(mx.Records), func(r dnsclient.MX) bool { return r.Host == "" })
}

// mxHosts returns the hosts of MX records, which are sorted by preference, each host once.
func mxHosts(records []dnsclient.MX) (hosts []mxHost) {
	for _, r := range records {
		i := slices.IndexFunc(hosts, func(h mxHost) bool { return h.name == r.Host })
		if i < 0 && len(hosts) == maxMXHosts {
			continue
		}
		if i < 0 {
			i = len(hosts)
			hosts = append(hosts, mxHost{name: r.Host})
		}
		hosts[i].preferences = append(hosts[i].preferences, r.Preference)
	}
	return hosts
}

// hostAddresses is what both address lookups for a host came to.
type hostAddresses struct {
	err    error // of a lookup, and the other found no addresses
	count  addressCount
	secure bool   // DNSSEC proves those of a family, and the CNAMEs that lead there
	target string // where the host's CNAMEs lead to; "" if it has none
	ttl    time.Duration
}

// looked is the result of one address lookup.
type looked struct {
	answer dnsclient.Answer[netip.Addr]
	err    error
}

// addressesOf puts the A and AAAA lookups of a host together. One of them may fail if the other finds addresses:
// Postfix delivers to those then. Postfix goes by the family of the first address that it tries, which may be either.
func addressesOf(v4, v6 looked) hostAddresses {
	found := hostAddresses{ttl: maxTTL}
	denied := maxTTL
	var err error
	for _, l := range []looked{v4, v6} {
		switch {
		case l.err != nil:
			err = l.err
		case l.answer.Denial != dnsclient.Exists:
			denied = min(denied, l.answer.TTL)
		default:
			found.secure = found.secure || l.answer.Authentic
			found.ttl = min(found.ttl, l.answer.TTL)
			found.target = l.answer.Target
		}
	}
	found.count = addressCount{len(v4.answer.Records), len(v6.answer.Records)}
	if found.count.total() > 0 {
		return found
	}
	return hostAddresses{err: err, ttl: denied}
}

// judgeTLSA is the state of a host whose TLSA records these are. Records, and denials, that are not secure are none
// (RFC 7672 section 2.2).
func judgeTLSA(a dnsclient.Answer[dnsclient.TLSA]) HostState {
	switch {
	case !a.Authentic || a.Denial != dnsclient.Exists:
		return HostPlain
	case slices.ContainsFunc(a.Records, usableTLSA):
		return HostUsable
	default:
		return HostUnusable
	}
}
