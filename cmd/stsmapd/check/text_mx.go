package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

func (t *Text) mx(mx MX) {
	if mx.Status != MXFound || mx.Omitted > 0 {
		t.Print("")
	}
	switch mx.Status {
	case MXDirect:
		t.row("MX", term.NoMark, "no lookup: the next hop is in brackets")
	case MXImplicit:
		t.row("MX", term.Note, "no records: the domain is its own MX host")
	case MXNull:
		t.row("MX", term.Note, "null MX: the domain takes no mail (RFC 7505)")
	case MXNoDomain:
		t.row("MX", term.Fail, "the domain does not exist")
	case MXNoAnswer:
		t.row("MX", term.Fail, "%s", mx.Error)
	}
	if mx.Omitted > 0 {
		t.row("MX", term.Note, "only the first %d of %d hosts are checked", maxHosts, maxHosts+mx.Omitted)
	}
}

func (t *Text) host(now time.Time, h Host) {
	verdict := term.OK
	switch {
	case len(h.Problems) > 0:
		verdict = term.Fail
	case !h.Probed:
		verdict = term.Note
	}
	t.Print("")
	t.row(fmt.Sprintf("MX %d", h.Preference), verdict, "%s", h.Name)
	for _, p := range h.Problems {
		t.row("", term.NoMark, "%s", p.Text)
	}
	if h.PassesMatch {
		t.row("", term.Note, "a Postfix before 3.10.5, or with a map without tlsrpt, delivers all the same: the "+
			"certificate has another name that the policy allows")
	}
	if h.InPolicy != nil && *h.InPolicy {
		t.row("  in the policy", term.OK, "by mx: %s", h.Pattern)
	}
	t.row("  addresses", term.NoMark, "%s", orNone(h.Addresses))
	for _, f := range h.Failed {
		t.row("", term.Note, "%s: %s", f.Address, f.Error)
	}
	if !h.Probed {
		t.row("  SMTP", term.Note, "not checked (--no-smtp)")
		return
	}
	if h.Greeting != "" {
		t.row("  greeting", term.NoMark, "%s", cut(h.Greeting, 200))
		t.row("", term.NoMark, "from %s", h.Address)
	}
	if h.StartTLS {
		t.row("  STARTTLS", term.OK, "offered")
	}
	t.tls(now, h.TLS, h.has(ProblemExpired, ProblemUntrusted, ProblemNoIssuer, ProblemWrongName))
	switch {
	case h.RequireTLS:
		t.row("  REQUIRETLS", term.OK, "announced")
	case h.TLS != nil:
		t.row("  REQUIRETLS", term.NoMark, "not announced")
	}
	if h.Passes {
		t.row("  level secure", term.OK, "passes")
	}
}

func (t *Text) dane(d DANE) {
	t.Print("")
	switch {
	case !d.ADTrusted:
		t.row("DANE", term.Note, "not checked: the AD bit of the DNS resolver is not trusted (dns.trust_ad)")
	case d.Status == "failed":
		t.row("DANE", term.Fail, "%s", d.Error)
	case d.Status == "usable" && d.all("usable"):
		t.row("DANE", term.OK, "every MX host has usable TLSA records")
	case d.Status == "usable":
		t.row("DANE", term.Note, "some MX hosts have no usable TLSA records: they are not used under an "+
			"enforced policy")
	case d.all("plain", "no_address"):
		t.row("DANE", term.NoMark, "no TLSA records that DNSSEC proves")
	default:
		t.row("DANE", term.Note, "no MX host that Postfix would try has usable TLSA records: an enforced "+
			"policy applies")
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
		t.row("  "+h.Name, term.Fail, "%s", h.Error)
		return
	}
	verdict, text := term.Note, "not compared: the host sent no certificate"
	switch {
	case h.Matches != nil && *h.Matches:
		verdict, text = term.OK, "the certificate matches"
	case h.Matches != nil:
		verdict, text = term.Fail, "the certificate matches none of them"
	case h.State == "unusable":
		verdict, text = term.Fail, "none is usable: they are ignored"
	}
	t.row("  TLSA", verdict, "%s", h.At)
	t.row("", term.NoMark, "%s", text)
	if !h.InReach {
		t.row("", term.Note, "none of its addresses is among the first five, which Postfix tries")
	}
	for _, r := range h.Records {
		t.row("", term.NoMark, "%d %d %d %s", r.Usage, r.Selector, r.MatchingType, cut(r.Data, 32))
	}
}

func (t *Text) tlsrpt(r TLSRPT) {
	t.Print("")
	switch r.Status {
	case Found:
		t.row("TLSRPT", term.OK, "%s", cut(r.Record, 600))
	case NoRecord:
		t.row("TLSRPT", term.NoMark, "%s: there is none, failures are not reported", r.Name)
	default:
		t.row("TLSRPT", term.Fail, "%s: %s", r.Name, r.Error)
	}
}

func (t *Text) answers(answers []Answer) {
	t.Print("\nAnswers for Postfix")
	for _, a := range answers {
		t.row("  "+a.Map, term.NoMark, "%s", cut(a.Reply, 2000))
	}
}

func (t *Text) advice(advice []Advice) {
	if len(advice) == 0 {
		return
	}
	t.Print("\nAdvice")
	for _, a := range advice {
		t.Paragraph(term.Plain, "  - ", 4, a.Text)
	}
}
