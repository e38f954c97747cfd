package dane

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/lookups"
)

// gather looks up all that judge needs. The MX hosts are looked up at the same time, each by itself: a slow or broken
// one takes no time from the others, and is unknown when ctx ends. A panic in the lookup of one host goes to panicked,
// whose error becomes that of the host.
func gather(ctx context.Context, dns DNS, to Destination,
	panicked func(host string, p *lookups.PanicError) error) facts {
	records, ttl, err := lookUpMX(ctx, dns, to)
	if err != nil {
		return facts{err: err}
	}
	hosts := mxHosts(records)
	var all sync.WaitGroup
	for i, host := range hosts {
		all.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					hosts[i].err = panicked(host.name,
						&lookups.PanicError{Value: fmt.Sprint(r), Stack: string(debug.Stack())})
				}
			}()
			hosts[i] = lookUpHost(ctx, dns, to.port(), host)
		})
	}
	all.Wait()
	for _, h := range hosts {
		if h.state != HostUnknown {
			ttl = min(ttl, h.ttl)
		}
	}
	return facts{hosts: hosts, ttl: ttl}
}

var errTooSlow = fmt.Errorf("the DNS lookups for DANE take longer than %v", lookupLimit)

// lookUpMX returns the MX records whose hosts count, and how long that holds. A destination in [brackets] is its own
// host.
func lookUpMX(ctx context.Context, dns DNS, to Destination) ([]dnsclient.MX, time.Duration, error) {
	if to.Direct {
		return []dnsclient.MX{{Host: to.Domain.String()}}, maxTTL, nil
	}
	mx, err := dns.MX(ctx, to.Domain.String())
	if err != nil {
		return nil, 0, err
	}
	return mxRecords(to.Domain, mx), mx.TTL, nil
}

// lookUpHost finds out the state of one MX host as Postfix does (RFC 7672 section 2.2.2, RFC 7671 section 7): the TLSA
// records of a host whose addresses are not secure are not even looked up, for there are servers that fail at it. A
// host that is an alias may have them at the end of its CNAMEs, which goes before, or at its own name.
//
// It returns h with what was found.
func lookUpHost(ctx context.Context, dns DNS, port uint16, h mxHost) mxHost {
	host := h.name
	if ip, err := netip.ParseAddr(host); err == nil { // against RFC 5321 section 5.1, but Postfix delivers there
		h.state, h.addresses, h.ttl = HostPlain, countAddress(ip), maxTTL
		return h
	}
	addr := lookUpAddresses(ctx, dns, host)
	h.addresses, h.ttl = addr.count, addr.ttl
	switch {
	case addr.err != nil:
		h.err = addr.err
		return h
	case addr.count.total() == 0:
		h.state = HostAway
		return h
	}
	h.state = HostPlain
	switch {
	case addr.secure && addr.target == "":
	case addr.secure:
		if h = lookUpTLSA(ctx, dns, tlsaName(port, addr.target), h); h.state != HostPlain {
			return h
		}
	case addr.target == "":
		return h
	default:
		if signed, err := signedAlias(ctx, dns, tlsaName(port, host)); err != nil {
			h.state, h.err = HostUnknown, err
			return h
		} else if !signed {
			return h
		}
	}
	return lookUpTLSA(ctx, dns, tlsaName(port, host), h)
}

func lookUpAddresses(ctx context.Context, dns DNS, host string) hostAddresses {
	var v4, v6 looked
	v4done := make(chan struct{})
	go func() {
		defer close(v4done)
		v4.answer, v4.err = dns.A(ctx, host)
	}()
	v6.answer, v6.err = dns.AAAA(ctx, host)
	<-v4done
	return addressesOf(v4, v6)
}

// signedAlias reports whether the zone of an alias is signed, when the end of its CNAMEs is not: TLSA records at its
// own name count then. A question for the alias is answered for its end; so the question is for the name of its TLSA
// records, and for a type that is not there, whose absence is proven where that zone is signed.
func signedAlias(ctx context.Context, dns DNS, tlsa string) (bool, error) {
	a, err := dns.A(ctx, tlsa)
	return a.Authentic, err
}

// lookUpTLSA returns h with what the TLSA records at a name add to it.
func lookUpTLSA(ctx context.Context, dns DNS, name string, h mxHost) mxHost {
	a, err := dns.TLSA(ctx, name)
	h.at, h.records = name, nil
	if err != nil {
		h.state, h.err = HostUnknown, err
		return h
	}
	if a.Authentic {
		h.records = a.Records
	}
	h.state, h.ttl = judgeTLSA(a), min(h.ttl, a.TTL)
	return h
}

// tlsaName is where the TLSA records of a host's port are (RFC 6698 section 3).
func tlsaName(port uint16, host string) string {
	return "_" + strconv.Itoa(int(port)) + "._tcp." + host
}
