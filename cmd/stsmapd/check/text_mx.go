package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

func (t *Text) mx(mx MX) {
	if mx.Status != MXFound || mx.Omitted > 0 {
		t.print("\n")
	}
	switch mx.Status {
	case MXDirect:
		t.row("MX", markNone, "no lookup: the next hop is in brackets")
	case MXImplicit:
		t.row("MX", markNote, "no records: the domain is its own MX host")
	case MXNull:
		t.row("MX", markNote, "null MX: the domain takes no mail (RFC 7505)")
	case MXNoDomain:
		t.row("MX", markFail, "the domain does not exist")
	case MXNoAnswer:
		t.row("MX", markFail, "%s", mx.Error)
	}
	if mx.Omitted > 0 {
		t.row("MX", markNote, "only the first %d of %d hosts are checked", maxHosts, maxHosts+mx.Omitted)
	}
}

func (t *Text) host(now time.Time, h Host) {
	verdict := markOK
	switch {
	case len(h.Problems) > 0:
		verdict = markFail
	case !h.Probed:
		verdict = markNote
	}
	t.print("\n")
	t.row(fmt.Sprintf("MX %d", h.Preference), verdict, "%s", h.Name)
	for _, p := range h.Problems {
		t.row("", markNone, "%s", p.Text)
	}
	if h.PassesMatch {
		t.row("", markNote, "a Postfix before 3.10.5, or with a map without tlsrpt, delivers all the same: the "+
			"certificate has another name that the policy allows")
	}
	if h.InPolicy != nil && *h.InPolicy {
		t.row("  in the policy", markOK, "by mx: %s", h.Pattern)
	}
	t.row("  addresses", markNone, "%s", orNone(h.Addresses))
	for _, f := range h.Failed {
		t.row("", markNote, "%s: %s", f.Address, f.Error)
	}
	if !h.Probed {
		t.row("  SMTP", markNote, "not checked (--no-smtp)")
		return
	}
	if h.Greeting != "" {
		t.row("  greeting", markNone, "%s", cut(h.Greeting, 200))
		t.row("", markNone, "from %s", h.Address)
	}
	if h.StartTLS {
		t.row("  STARTTLS", markOK, "offered")
	}
	t.tls(now, h.TLS, h.has(ProblemExpired, ProblemUntrusted, ProblemNoIssuer, ProblemWrongName))
	switch {
	case h.RequireTLS:
		t.row("  REQUIRETLS", markOK, "announced")
	case h.TLS != nil:
		t.row("  REQUIRETLS", markNone, "not announced")
	}
	if h.Passes {
		t.row("  level secure", markOK, "passes")
	}
}

func (t *Text) dane(d DANE) {
	t.print("\n")
	switch {
	case !d.ADTrusted:
		t.row("DANE", markNote, "not checked: the AD bit of the DNS resolver is not trusted (dns.trust_ad)")
	case d.Status == "failed":
		t.row("DANE", markFail, "%s", d.Error)
	case d.Status == "usable" && d.all("usable"):
		t.row("DANE", markOK, "every MX host has usable TLSA records")
	case d.Status == "usable":
		t.row("DANE", markNote, "some MX hosts have no usable TLSA records: they are not used under an enforced policy")
	case d.all("plain", "no_address"):
		t.row("DANE", markNone, "no TLSA records that DNSSEC proves")
	default:
		t.row("DANE", markNote, "no MX host that Postfix would try has usable TLSA records: an enforced policy applies")
	}
	for _, h := range d.Hosts {
		t.daneHost(h)
	}
}

// all reports whether each host has one of these states.
func (d DANE) all(states ...string) bool {
	return !slices.ContainsFunc(d.Hosts, func(h DANEHost) bool { return !slices.Contains(states, h.State) })
}

func (t *Text) daneHost(h DANEHost) {
	switch h.State {
	case "plain", "no_address":
		return
	case "unknown":
		t.row("  "+h.Name, markFail, "%s", h.Error)
		return
	}
	verdict, text := markNote, "not compared: the host sent no certificate"
	switch {
	case h.Matches != nil && *h.Matches:
		verdict, text = markOK, "the certificate matches"
	case h.Matches != nil:
		verdict, text = markFail, "the certificate matches none of them"
	case h.State == "unusable":
		verdict, text = markFail, "none is usable: they are ignored"
	}
	t.row("  TLSA", verdict, "%s", h.At)
	t.row("", markNone, "%s", text)
	if !h.InReach {
		t.row("", markNote, "none of its addresses is among the first five, which Postfix tries")
	}
	for _, r := range h.Records {
		t.row("", markNone, "%d %d %d %s", r.Usage, r.Selector, r.MatchingType, cut(r.Data, 32))
	}
}

func (t *Text) tlsrpt(r TLSRPT) {
	t.print("\n")
	switch r.Status {
	case Found:
		t.row("TLSRPT", markOK, "%s", cut(r.Record, 600))
	case NoRecord:
		t.row("TLSRPT", markNone, "%s: there is none, failures are not reported", r.Name)
	default:
		t.row("TLSRPT", markFail, "%s: %s", r.Name, r.Error)
	}
}

func (t *Text) answers(answers []Answer) {
	t.print("\nAnswers for Postfix\n")
	for _, a := range answers {
		t.row("  "+a.Map, markNone, "%s", cut(a.Reply, 2000))
	}
}

func (t *Text) advice(advice []Advice) {
	if len(advice) == 0 {
		return
	}
	t.print("\nAdvice\n")
	for _, a := range advice {
		for i, line := range term.Wrap(term.Clean(a.Text), term.Columns(t.w)-4) {
			t.print([]string{"  - ", "    "}[min(i, 1)] + line + "\n")
		}
	}
}
