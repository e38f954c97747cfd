package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// tlsaState is what the DNS says of the TLSA records of an MX host.
type tlsaState string

const (
	noTLSA       tlsaState = "no TLSA"
	goodTLSA     tlsaState = "TLSA of its certificate"
	unusableTLSA tlsaState = "TLSA 9 9 9"
	failingTLSA  tlsaState = "TLSA lookup fails"
)

// mxState is how an MX host is.
type mxState string

const (
	mxGood       mxState = "good"
	mxRefused    mxState = "refused"     // it refuses connections
	mxNoSTARTTLS mxState = "no STARTTLS" // it offers none
	mxWrongName  mxState = "wrong name"  // its certificate is of another host
	mxUnknownCA  mxState = "unknown CA"  // its certificate is of no trusted CA
)

// daneRow is a row of the table of what is answered, for a domain with an enforced policy and two MX hosts.
type daneRow struct {
	why      string
	unsigned bool // the MX records are not signed
	tlsa     [2]tlsaState
	answer   string // the beginning
}

const byPolicy = "OK secure match="

var daneRows = []daneRow{
	{"MX records that are not signed", true, [2]tlsaState{goodTLSA, goodTLSA}, byPolicy},
	{"TLSA of the first host alone", false, [2]tlsaState{goodTLSA, noTLSA}, daneOnly},
	{"TLSA of the second host alone", false, [2]tlsaState{noTLSA, goodTLSA}, daneOnly},
	{"TLSA of the first host, the second's lookup fails", false, [2]tlsaState{goodTLSA, failingTLSA}, daneOnly},
	{"TLSA of the first host, the second's is unusable", false, [2]tlsaState{goodTLSA, unusableTLSA}, daneOnly},
	{"no TLSA of the first host, the second's lookup fails", false, [2]tlsaState{noTLSA, failingTLSA}, daneWait},
	{"no usable TLSA", false, [2]tlsaState{unusableTLSA, unusableTLSA}, byPolicy},
	{"no TLSA", false, [2]tlsaState{noTLSA, noTLSA}, byPolicy},
}

// mxPairs are the states of the two hosts. With TLSA of the first host alone, the fifth is the leak that `OK dane` was:
// one host refuses connections, the other has no STARTTLS. Without usable TLSA the last is another: it was sent
// "Untrusted".
var mxPairs = [][2]mxState{
	{mxGood, mxGood}, {mxNoSTARTTLS, mxGood}, {mxWrongName, mxGood}, {mxRefused, mxGood},
	{mxRefused, mxNoSTARTTLS}, {mxRefused, mxWrongName}, {mxRefused, mxUnknownCA}, {mxRefused, mxRefused},
	{mxNoSTARTTLS, mxNoSTARTTLS}, {mxUnknownCA, mxUnknownCA},
}

// daneEntry is a domain of the matrix.
type daneEntry struct {
	why    string
	domain *world.Domain
	hosts  []*world.MXHost // those that run
	answer string
	to     *world.MXHost // which host must get each mail; nil: none
}

// TestDANETable has each Postfix deliver to a domain for each row of the table and each state of the MX hosts.
// Whatever the row and the state, no mail goes to a host in the clear, or to one whose certificate neither DANE nor the
// policy vouches for.
func TestDANETable(t *testing.T) {
	w := world.Open(t)
	v := w.Validator(t)
	var entries []daneEntry
	for _, row := range daneRows {
		for _, pair := range mxPairs {
			entries = append(entries, newDANEEntry(t, w, row, pair))
		}
	}
	for i, contract := range daneContracts {
		t.Run(contract.why, func(t *testing.T) {
			p, daemon := startPair(t, w, world.PostfixConfig{
				Map: contract.mapName, Tree: w.Tree(t, contract.system, v.Addr), DANE: true,
			}, world.DaemonConfig{Resolver: v.Addr})
			t.Logf("Postfix %s", p.Version(t))
			user := fmt.Sprintf("postfix%d", i)
			ids := make([]string, len(entries))
			for j, e := range entries {
				if got := daemon.Ask(t, contract.mapName, e.domain.Name); !strings.HasPrefix(got, e.answer) {
					t.Errorf("%s: the answer is %q, want %q", e.why, got, e.answer)
				}
				ids[j] = p.Send(t, world.ByUnix, "user", user+"@"+e.domain.Name)
			}
			sent := 0
			for j, e := range entries {
				e.check(t, p.Delivery(t, ids[j]), user)
				if e.to != nil {
					sent++
				}
			}
			t.Logf("%d mails sent, all verified, and %d deferred, to %d domains", sent, len(entries)-sent, len(entries))
		})
	}
}

// newDANEEntry makes a domain.
func newDANEEntry(t *testing.T, w *world.World, row daneRow, states [2]mxState) daneEntry {
	t.Helper()
	d := w.SignedDomain(t, "table")
	e := daneEntry{why: fmt.Sprintf("%s; %s, %s", row.why, states[0], states[1]), domain: d, answer: row.answer}
	var names []string
	for i, state := range states {
		name := fmt.Sprintf("mx%d.%s", i+1, d.Name)
		names = append(names, name)
		mx := startMXIn(t, w, name, state)
		if mx != nil {
			e.hosts = append(e.hosts, mx)
		}
		publishTLSA(t, w, name, mx, row.tlsa[i])
		if e.to == nil && mx != nil && mayTake(row, i, state) {
			e.to = mx
		}
	}
	if row.unsigned {
		e.domain = w.Domain("table")
	}
	e.domain.SetMX(names...)
	e.domain.Publish(t, "1", world.Text("enforce", names...))
	return e
}

// mayTake reports whether a host may be given mail: DANE or the policy vouches for its certificate, as the answer says.
func mayTake(row daneRow, host int, state mxState) bool {
	switch {
	case state == mxRefused || state == mxNoSTARTTLS:
		return false
	case row.answer == daneOnly:
		return row.tlsa[host] == goodTLSA
	default:
		return row.answer == byPolicy && state == mxGood
	}
}

// startMXIn starts an MX host in that state. It returns nil if the host refuses connections.
func startMXIn(t *testing.T, w *world.World, name string, state mxState) *world.MXHost {
	t.Helper()
	switch state {
	case mxRefused:
		w.DNS.Add(fmt.Sprintf("%s. 300 IN A %s", name, w.Host()))
		return nil
	case mxNoSTARTTLS:
		return w.PlainMXHost(t, name, 25)
	}
	mx := w.MXHost(t, name, 25)
	switch state {
	case mxWrongName:
		mx.SetCertificate(world.Certificate(t)(w.CA.Issue("mail.elsewhere.test")))
	case mxUnknownCA:
		mx.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(name)))
	}
	return mx
}

// publishTLSA publishes the TLSA records of a host; mx is nil, or has no certificate, where none is ever shown.
func publishTLSA(t *testing.T, w *world.World, name string, mx *world.MXHost, state tlsaState) {
	t.Helper()
	at := "_25._tcp." + name
	switch state {
	case noTLSA:
	case failingTLSA:
		w.DNS.Add(at + ". 300 IN TLSA 3 1 1 " + strings.Repeat("ab", 32)) // else the name is proven not to exist
		w.DNS.On(at, dns.TypeTLSA, dnstest.ServFail)
	case unusableTLSA:
		w.DNS.Add(at + ". 300 IN TLSA 9 9 9 " + strings.Repeat("ab", 32))
	case goodTLSA:
		if mx == nil || !mx.HasCertificate() {
			w.DNS.Add(at + ". 300 IN TLSA 3 1 1 " + strings.Repeat("ab", 32))
			return
		}
		setTLSA(t, w, mx, mx.Certificate())
	}
}

// check fails the test unless the mail was delivered, or waits, as it must.
func (e daneEntry) check(t *testing.T, got world.Delivery, user string) {
	t.Helper()
	want := "deferred"
	if e.to != nil {
		want = "sent"
	}
	if got.Status != want || want == "sent" && (got.Relay != e.to.Name || got.TLS != "Verified") {
		t.Errorf("%s: %+v, want %s", e.why, got, want)
	}
	for _, mx := range e.hosts {
		if n := mx.Saw("MAIL FROM"); n > 0 {
			t.Errorf("%s: %s was sent a mail in the clear", e.why, mx.Name)
		}
		for _, m := range mx.Messages() {
			if strings.HasPrefix(m.To, user+"@") && mx != e.to {
				t.Errorf("%s: %s took a mail that must not go there", e.why, mx.Name)
			}
		}
	}
}
