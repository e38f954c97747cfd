package model

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// DANE says what DNSSEC proves of the TLSA records of the domain's two MX hosts.
type DANE struct {
	Domain int
	State  DANEState
}

// DANEState is what the DNS says of a domain's DANE.
type DANEState string

// The states of a domain's DANE.
const (
	DANEUnsigned DANEState = "unsigned" // the MX records are not signed
	DANENone     DANEState = "none"     // signed, without TLSA records
	DANEUnusable DANEState = "unusable" // TLSA records that Postfix cannot use
	DANEOne      DANEState = "one"      // usable ones of one host, the other has none
	DANEHalf     DANEState = "half"     // usable ones of one host, those of the other cannot be looked up
	DANEServfail DANEState = "servfail" // no TLSA records of one host, those of the other cannot be looked up
)

func (DANE) event() {}

func (e DANE) String() string { return fmt.Sprintf("dane %d %s", e.Domain, e.State) }

// daneSpan is a time in which a domain's DANE was in one state.
type daneSpan struct {
	state DANEState
	ended time.Time // zero: now
}

const (
	daneTTL = 5 * time.Minute
	// daneServes is how long a finding serves at most after it was true: its TTL, and an hour while lookups fail.
	daneServes = daneTTL + time.Hour + time.Minute
	// daneSpans is how many states are kept; after the clock was set back any of them may serve.
	daneSpans = 16
	daneOnly  = "OK dane-only"
	daneWaits = "TEMP DANE: cannot look up the MX hosts' TLSA records: "
)

// setDANE notes another state of a domain's DANE.
func (m *Model) setDANE(n int, state DANEState) {
	d := &m.domains[n]
	if last := len(d.dane) - 1; last >= 0 {
		d.dane[last].ended = m.now()
	}
	if d.dane = append(d.dane, daneSpan{state: state}); len(d.dane) > daneSpans {
		d.dane = slices.Delete(d.dane, 0, 1)
	}
}

func doesDANE(mapName string) bool { return slices.Contains(strings.Split(mapName, "+"), "dane") }

// bound reports whether the reply is right while the file's policy lives. If the policy is enforced and Postfix does
// DANE, the reply must be right for one of the states that may still be remembered.
func (m *Model) bound(q *question, f File, reply string) bool {
	policy := f.binding(q.mapName)
	if policy == notFound || !doesDANE(q.mapName) {
		return reply == policy
	}
	return slices.ContainsFunc(m.domains[q.domain].dane, func(s daneSpan) bool {
		old := !s.ended.IsZero() && q.began.Sub(s.ended) > daneServes && !m.unsteady(q.began)
		return !old && s.state.answers(policy, reply)
	})
}

// answers reports whether the reply is right for the state.
func (s DANEState) answers(policy, reply string) bool {
	switch s {
	case DANEOne, DANEHalf:
		return reply == daneOnly
	case DANEServfail:
		return strings.HasPrefix(reply, daneWaits)
	default:
		return reply == policy
	}
}

// daneState returns the state of a domain's DANE in the DNS now. The caller holds the lock.
func (w *world) daneState(n int) DANEState {
	if w.mute == MuteOn {
		return DANEServfail
	}
	return w.dane[n]
}

// tellDANE notes in the model the states that changed. The caller holds the lock.
func (w *world) tellDANE() {
	for n := range w.dane {
		spans := w.model.domains[n].dane
		if state := w.daneState(n); len(spans) == 0 || spans[len(spans)-1].state != state {
			w.model.setDANE(n, state)
		}
	}
}

// daneHost finds the domain whose DANE is asked for, and the number of its MX host, by the host's name.
func (p port) daneHost(name string) (state DANEState, host int, err error) {
	first, domain, _ := strings.Cut(name, ".")
	n, ok := p.w.number(domain)
	host = slices.Index([]string{"mx0", "mx1"}, first)
	if !ok || host < 0 {
		return "", 0, fmt.Errorf("unexpected lookup of %s", name)
	}
	p.w.locked(func() { state = p.w.daneState(n) })
	return state, host, nil
}

// MX implements resolver.DNS. The lookups for DANE take no time, so that one finding is of one state.
func (p port) MX(_ context.Context, name string) (a dnsclient.Answer[dnsclient.MX], err error) {
	state, _, err := p.daneHost("mx0." + name)
	if err != nil {
		return a, err
	}
	return dnsclient.Answer[dnsclient.MX]{
		Records: []dnsclient.MX{{Preference: 10, Host: "mx0." + name}, {Preference: 20, Host: "mx1." + name}},
		TTL:     daneTTL, Authentic: state != DANEUnsigned,
	}, nil
}

// A implements resolver.DNS.
func (p port) A(_ context.Context, name string) (a dnsclient.Answer[netip.Addr], err error) {
	if _, _, err := p.daneHost(name); err != nil {
		return a, p.unexpected("A", name)
	}
	return dnsclient.Answer[netip.Addr]{
		Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, TTL: daneTTL, Authentic: true}, nil
}

// AAAA implements resolver.DNS.
func (p port) AAAA(_ context.Context, name string) (a dnsclient.Answer[netip.Addr], err error) {
	if _, _, err := p.daneHost(name); err != nil {
		return a, p.unexpected("AAAA", name)
	}
	return dnsclient.Answer[netip.Addr]{Denial: dnsclient.NoData, TTL: daneTTL, Authentic: true}, nil
}

// TLSA implements resolver.DNS.
func (p port) TLSA(_ context.Context, name string) (a dnsclient.Answer[dnsclient.TLSA], err error) {
	hostName, ok := strings.CutPrefix(name, "_25._tcp.")
	state, host, err := p.daneHost(hostName)
	if err != nil || !ok {
		return a, p.unexpected("TLSA", name)
	}
	a = dnsclient.Answer[dnsclient.TLSA]{TTL: daneTTL, Authentic: true}
	switch {
	case host == 1 && (state == DANEHalf || state == DANEServfail):
		return a, errServfail
	case host == 0 && (state == DANEHalf || state == DANEOne):
		a.Records = []dnsclient.TLSA{{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}}
	case state == DANEUnusable:
		a.Records = []dnsclient.TLSA{{Usage: 9, Selector: 9, MatchingType: 9, Data: make([]byte, 32)}}
	default:
		a.Denial = dnsclient.NXDomain
	}
	return a, nil
}
