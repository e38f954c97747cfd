package resolver

import (
	"context"
	"fmt"
	"sync"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// DANEHostState is what the DNS says of one MX host's DANE.
type DANEHostState = hostState

// The states of an MX host.
const (
	DANEHostUnknown  = hostUnknown  // a lookup failed
	DANEHostAway     = hostAway     // no addresses: no mail can go there
	DANEHostPlain    = hostPlain    // not signed, or no TLSA records
	DANEHostUnusable = hostUnusable // secure TLSA records, none of them usable
	DANEHostUsable   = hostUsable   // secure, usable TLSA records
)

// String returns a stable word.
func (s hostState) String() string {
	if s > hostUsable {
		return "invalid"
	}
	return [...]string{"unknown", "no_address", "plain", "unusable", "usable"}[s]
}

// DANEHost is what was found of one MX host.
type DANEHost struct {
	Name    string
	State   DANEHostState
	InReach bool  // Postfix may come to it among the first addresses that it tries
	Err     error // for DANEHostUnknown
	// the name whose TLSA records decided, "_25._tcp.mx.example.com"; "" where none had to be asked for
	At      string
	Records []dnsclient.TLSA // at that name, as far as they are secure
}

// DANEInspection is a DANE finding, and what it rests upon.
type DANEInspection struct {
	Status DANEStatus // never DANEUnasked
	Err    error      // the reason for DANEFailed
	// Hosts are those whose DANE counts: of a secure MX answer, the most preferred first. None: nothing there is
	// signed.
	Hosts []DANEHost
}

// Finding is the inspection as Decide wants it.
func (i DANEInspection) Finding() DANEFinding { return DANEFinding{Status: i.Status, Err: i.Err} }

// Usable reports whether Postfix could match a certificate with the record.
func (h DANEHost) Usable(r dnsclient.TLSA) bool { return usableTLSA(r) }

// InspectDANE looks live at what the service would find with nothing remembered, by the same code, and in the same
// time.
func InspectDANE(ctx context.Context, dns DNS, to Destination) DANEInspection {
	ctx, cancel := context.WithTimeoutCause(ctx, daneLookupLimit, errDANETooSlow)
	defer cancel()
	records, _, err := lookUpMX(ctx, dns, to)
	if err != nil {
		return DANEInspection{Status: DANEFailed, Err: err}
	}
	names, hosts := mxHosts(records)
	in := DANEInspection{Hosts: make([]DANEHost, len(names))}
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			w := tlsaWitness{DNS: dns}
			hosts[i] = lookUpHost(ctx, &w, to.port(), name, hosts[i])
			in.Hosts[i] = DANEHost{Name: name, State: hosts[i].state, Err: hosts[i].err, At: w.name, Records: w.records}
		})
	}
	all.Wait()
	for i := range hosts {
		in.Hosts[i].InReach = inReach(hosts, i)
	}
	in.Status, in.Err = judgeDANE(daneFacts{hosts: hosts})
	return in
}

var errDANETooSlow = fmt.Errorf("the DNS lookups for DANE take longer than %v", daneLookupLimit)

// tlsaWitness sees which TLSA records were asked for last: those decided, for a host is not asked about any further
// then.
type tlsaWitness struct {
	DNS
	name    string
	records []dnsclient.TLSA
}

// TLSA implements DNS.
func (w *tlsaWitness) TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error) {
	a, err := w.DNS.TLSA(ctx, name)
	w.name, w.records = name, nil
	if err == nil && a.Authentic {
		w.records = a.Records
	}
	return a, err
}
