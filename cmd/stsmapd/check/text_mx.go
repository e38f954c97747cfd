package check

import (
	"fmt"
	"slices"
	"time"
)

func (t *Text) mx(mx MX) {
	if mx.Status != MXFound || mx.LeftOut > 0 {
		t.print("\n")
	}
	switch mx.Status {
	case MXDirect:
		t.row("MX", noMark, "none asked for: the next hop is in brackets")
	case MXImplicit:
		t.row("MX", mind, "no records: the domain is its own MX host")
	case MXNull:
		t.row("MX", mind, "null MX: the domain takes no mail (RFC 7505)")
	case MXNoDomain:
		t.row("MX", bad, "the domain does not exist")
	case MXNoAnswer:
		t.row("MX", bad, "%s", mx.Error)
	}
	if mx.LeftOut > 0 {
		t.row("MX", mind, "only the first %d of %d hosts are looked at", maxHosts, maxHosts+mx.LeftOut)
	}
}

func (t *Text) host(now time.Time, h Host) {
	verdict := good
	switch {
	case len(h.Problems) > 0:
		verdict = bad
	case !h.LookedAt:
		verdict = mind
	}
	t.print("\n")
	t.row(fmt.Sprintf("MX %d", h.Preference), verdict, "%s", h.Name)
	for _, p := range h.Problems {
		t.row("", noMark, "%s", p.Text)
	}
	if h.PassesMatch {
		t.row("", mind, "a Postfix before 3.10.5, or one that asks without tlsrpt, delivers all the same: the "+
			"certificate has "+
			"another name that the policy has")
	}
	if h.InPolicy != nil && *h.InPolicy {
		t.row("  in the policy", good, "by mx: %s", h.Pattern)
	}
	t.row("  addresses", noMark, "%s", orNone(h.Addresses))
	for _, f := range h.Failed {
		t.row("", mind, "%s: %s", f.Address, f.Error)
	}
	if !h.LookedAt {
		t.row("  SMTP", mind, "not looked at (--no-smtp)")
		return
	}
	if h.Greeting != "" {
		t.row("  greeting", noMark, "%s", cut(h.Greeting, 200))
		t.row("", noMark, "from %s", h.Address)
	}
	if h.StartTLS {
		t.row("  STARTTLS", good, "offered")
	}
	t.tls(now, h.TLS, h.has(ProblemExpired, ProblemUntrusted, ProblemWrongName))
	if h.Passes {
		t.row("  level secure", good, "passes")
	}
}

func (t *Text) dane(d DANE) {
	t.print("\n")
	switch {
	case !d.Believed:
		t.row("DANE", mind, "cannot be judged: the AD bit of the DNS resolver is not to be believed (dns.trust_ad)")
	case d.Status == "failed":
		t.row("DANE", bad, "%s", d.Error)
	case d.Status == "usable" && d.all("usable"):
		t.row("DANE", good, "every MX host has usable TLSA records")
	case d.Status == "usable":
		t.row("DANE", mind, "some MX hosts have no usable TLSA records: under an enforced policy they are not used")
	case d.all("plain", "no_address"):
		t.row("DANE", noMark, "no TLSA records that DNSSEC proves")
	default:
		t.row("DANE", mind, "no MX host that Postfix would try has usable TLSA records: an enforced policy decides")
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
		t.row("  "+h.Name, bad, "%s", h.Error)
		return
	}
	verdict, text := mind, "not compared with a certificate: none was seen"
	switch {
	case h.Matches != nil && *h.Matches:
		verdict, text = good, "the certificate matches"
	case h.Matches != nil:
		verdict, text = bad, "the certificate matches none of them"
	case h.State == "unusable":
		verdict, text = bad, "none is usable, which is as good as none"
	}
	t.row("  TLSA", verdict, "%s", h.At)
	t.row("", noMark, "%s", text)
	if !h.InReach {
		t.row("", mind, "no address of it is among the first five, which Postfix tries")
	}
	for _, r := range h.Records {
		t.row("", noMark, "%d %d %d %s", r.Usage, r.Selector, r.MatchingType, cut(r.Data, 32))
	}
}

func (t *Text) tlsrpt(r TLSRPT) {
	t.print("\n")
	switch r.Status {
	case Found:
		t.row("TLSRPT", good, "%s", cut(r.Record, 600))
	case NotThere:
		t.row("TLSRPT", noMark, "%s: there is none, nobody is told of failures", r.Name)
	default:
		t.row("TLSRPT", bad, "%s: %s", r.Name, r.Error)
	}
}

func (t *Text) answers(answers []Answer) {
	t.print("\nWhat Postfix is told\n")
	for _, a := range answers {
		t.row("  "+a.Map, noMark, "%s", cut(a.Reply, 2000))
	}
}

func (t *Text) advice(advice []Advice) {
	if len(advice) == 0 {
		return
	}
	t.print("\nAdvice\n")
	for _, a := range advice {
		for i, line := range wrap(clean(a.Text), width-4) {
			t.print([]string{"  - ", "    "}[min(i, 1)] + line + "\n")
		}
	}
}
