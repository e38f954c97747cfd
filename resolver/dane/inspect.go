package dane

import (
	"context"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/lookups"
)

// Host is what was found of one MX host.
type Host struct {
	Name    string
	State   HostState
	InReach bool  // Postfix may come to it among the first addresses that it tries
	Err     error // for HostUnknown
	// the name whose TLSA records decided, "_25._tcp.mx.example.com"; "" where none had to be asked for
	At      string
	Records []dnsclient.TLSA // at that name, as far as they are secure
}

// Inspection is a DANE finding, and what it rests upon.
type Inspection struct {
	Status Status // never Unasked
	Err    error  // the reason for Failed
	// Hosts are those whose DANE counts: of a secure MX answer, the most preferred first. None: nothing there is
	// signed.
	Hosts []Host
}

// Finding is the inspection as Decide wants it.
func (i Inspection) Finding() Finding { return Finding{Status: i.Status, Err: i.Err} }

// Usable reports whether Postfix could match a certificate with the record.
func (h Host) Usable(r dnsclient.TLSA) bool { return usableTLSA(r) }

// Inspect looks the destination up as a Judge does with nothing remembered, within the same time.
func Inspect(ctx context.Context, dns DNS, to Destination) Inspection {
	ctx, cancel := context.WithTimeoutCause(ctx, lookupLimit, errTooSlow)
	defer cancel()
	facts := gather(ctx, dns, to, func(_ string, p *lookups.PanicError) error { return p })
	in := Inspection{Hosts: make([]Host, len(facts.hosts))}
	for i, h := range facts.hosts {
		in.Hosts[i] = Host{Name: h.name, State: h.state, InReach: inReach(facts.hosts, i), Err: h.err, At: h.at,
			Records: h.records}
	}
	in.Status, in.Err = judge(facts)
	return in
}
