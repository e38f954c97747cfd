package check

import (
	"fmt"
	"strings"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// fate is what would become of a mail, and its description, which goes on after "mail to example.com would be ".
type fate struct {
	delivery Delivery
	words    string
}

// conclude is the sum of a report that is complete but for it.
func conclude(r *Report, d decision, found dane.Finding) Result {
	v := d.verdict(tlspolicy.Features{}, dane.Finding{})
	bound := underPolicy(r)
	got := bound
	if v.Outcome != resolver.Enforce {
		got = unbound(r, d, v)
	}
	with := underDANE(r, d.verdict(tlspolicy.Features{DANE: true}, found), got)
	res := Result{Delivery: got.delivery, WithDANE: with.delivery}
	words := got.words
	if d.policy != nil {
		res.Enforced = bound.delivery
		if v.Outcome == resolver.Testing {
			words += "; enforced, it would be " + bound.words
		}
	}
	if with.delivery != got.delivery {
		words += "; by a Postfix with DANE " + with.words
	}
	works := func(x Delivery) bool { return x == Verified || x == Unlooked }
	res.OK = (works(got.delivery) || v.Outcome == resolver.Testing && works(bound.delivery)) &&
		with.delivery != Deferred
	res.Summary = fmt.Sprintf("mail to %s would be %s", r.NextHop, words)
	return res
}

// unbound is the fate of a mail that no policy binds.
func unbound(r *Report, d decision, v resolver.Verdict) fate {
	if f, ended := nowhere(r); ended {
		return f
	}
	const as = "delivered as without MTA-STS: "
	switch v.Outcome {
	case resolver.Testing:
		return fate{Unverified, as + "the policy is in mode testing"}
	case resolver.None:
		return fate{Unverified, as + "the policy is in mode none"}
	case resolver.Unknown:
		return fate{Unverified, as + "the DNS " + plainDNS(v.Reason) + " when asked for " + r.Record.Name}
	case resolver.Unfetched:
		return fate{Unverified, as + "its policy " + r.Policy.reason}
	case resolver.Unable:
		return fate{Unverified, as + "this host cannot look for its policy: " + plainHost(v.Reason)}
	case resolver.Overloaded:
		return fate{Deferred, "deferred: this host cannot look for its policy: " + plainHost(v.Reason)}
	case resolver.Ignored:
		return fate{Unverified, as + "an override of this stsmapd ignores its policy" + because(d.override.Reason)}
	}
	switch r.Record.Status {
	case Several:
		return fate{Unverified, as + "it has more than one MTA-STS record, so that none counts"}
	case Malformed:
		return fate{Unverified, as + "its MTA-STS record is malformed: " + clean(r.Record.Error)}
	}
	return fate{Unverified, as + "it has no policy"}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + clean(reason) + ")"
}

// nowhere is the fate of a mail for which there is no MX host at all; false: there is one.
func nowhere(r *Report) (fate, bool) {
	switch r.MX.Status {
	case MXNull:
		return fate{Returned, "returned: the domain takes no mail (null MX)"}, true
	case MXNoDomain:
		return fate{Returned, "returned: the domain does not exist"}, true
	case MXNoAnswer:
		return fate{Deferred, "deferred: the MX records cannot be looked up"}, true
	}
	for _, h := range r.MX.Hosts {
		if !h.has(ProblemNoAddress) {
			return fate{}, false
		}
	}
	if len(r.MX.Hosts) == 1 {
		return fate{Returned, "returned: " + r.MX.Hosts[0].Name + " has no address in the DNS"}, true
	}
	return fate{Returned, "returned: no MX host has an address in the DNS"}, true
}

// underPolicy is the fate of a mail if the policy binds it.
func underPolicy(r *Report) fate {
	if f, ended := nowhere(r); ended {
		return f
	}
	if !lookedAt(r.MX.Hosts) {
		return unlooked(r.MX.Hosts)
	}
	return tried(r.MX.Hosts, func(h Host) (Delivery, string) {
		if h.Passes {
			return Verified, ""
		}
		return Deferred, h.Name + " " + h.Problems[0].Text
	})
}

func lookedAt(hosts []Host) bool {
	for _, h := range hosts {
		if h.LookedAt {
			return true
		}
	}
	return false
}

// unlooked judges by the policy alone.
func unlooked(hosts []Host) fate {
	var named []string
	for _, h := range hosts {
		if len(h.Problems) == 0 {
			named = append(named, h.Name)
		}
	}
	if len(named) == 0 {
		return fate{Deferred, "deferred: " + hosts[0].Name + " " + hosts[0].Problems[0].Text}
	}
	return fate{Unlooked, "delivered to " + listed(named) +
		" only with a valid certificate; that was not looked at (--no-smtp)"}
}

// underDANE is the fate of a mail of a Postfix that does DANE, with that verdict; without is the fate without DANE.
// Where no policy binds, Postfix's own level dane acts.
func underDANE(r *Report, v resolver.Verdict, without fate) fate {
	if f, ended := nowhere(r); ended {
		return f
	}
	if v.Outcome == resolver.DANEUnknown {
		return fate{Deferred, "deferred: the TLSA records of the MX hosts cannot be looked up"}
	}
	if v.Outcome == resolver.Enforce || !lookedAt(r.MX.Hosts) || !hasDANE(r.MX.Hosts) {
		return without
	}
	only := v.Outcome == resolver.DANEOnly
	return tried(r.MX.Hosts, func(h Host) (Delivery, string) { return byDANE(h, only) })
}

// hasDANE reports whether DANE has anything to say about one of the hosts.
func hasDANE(hosts []Host) bool {
	for _, h := range hosts {
		if h.DANE != "" && h.DANE != danePlain {
			return true
		}
	}
	return false
}

// byDANE is what a Postfix with DANE makes of a host; only: under dane-only, else under dane. The text is why it is not
// Verified.
func byDANE(h Host, only bool) (Delivery, string) {
	broken := ""
	for _, p := range h.Problems {
		switch p.Code {
		case ProblemNotInPolicy, ProblemTLSVersion, ProblemExpired, ProblemUntrusted, ProblemWrongName:
		default:
			broken = h.Name + " " + p.Text
		}
	}
	down := h.has(ProblemUnreachable, ProblemGreeting, ProblemNoAddress, ProblemNoAnswer, ProblemSession)
	switch {
	case h.DANE == daneVerified:
		return Verified, ""
	case down:
		return Deferred, broken
	case h.DANE == daneUnknown:
		return Deferred, h.Name + " has TLSA records that cannot be looked up"
	case h.DANE == daneRefused && broken != "":
		return Deferred, broken + ", and has TLSA records"
	case h.DANE == daneRefused:
		return Deferred, h.Name + " has a certificate that none of its TLSA records matches"
	case only:
		return Deferred, h.Name + " has no usable TLSA record"
	}
	return Unverified, h.Name + " has no usable TLSA record"
}

// tried is the fate of a mail that the hosts are tried for, in their order; among those of one preference Postfix takes
// any first. passes tells of each whether mail is delivered to it, and if it is not Verified, why.
func tried(hosts []Host, passes func(Host) (Delivery, string)) fate {
	var to, weak, faults []string
	var refusing []Host
	best := 0 // preference of the first that mail is delivered to
	for _, h := range hosts {
		delivery, fault := passes(h)
		if delivery == Deferred {
			refusing, faults = append(refusing, h), append(faults, fault)
			continue
		}
		if len(to) == 0 {
			best = h.Preference
		}
		if to = append(to, h.Name); delivery == Unverified {
			weak = append(weak, fault)
		}
	}
	f := fate{Verified, "delivered, verified"}
	switch {
	case len(to) == 0:
		return fate{Deferred, "deferred: " + reasons(faults)}
	case len(weak) > 0:
		f = fate{Unverified, "delivered, not always verified"}
	}
	var before, never []string
	for _, h := range refusing {
		if h.Preference < best {
			before = append(before, h.Name)
		} else {
			never = append(never, h.Name)
		}
	}
	if len(refusing) > 0 {
		f.words += ", to " + listed(to)
	}
	if len(before) > 0 {
		f.words += ", after " + listed(before) + " in vain"
	}
	if len(never) > 0 {
		f.words += ", never to " + listed(never)
	}
	if all := append(weak, faults...); len(all) > 0 {
		f.words += ": " + reasons(all)
	}
	return f
}

// reasons joins the first few.
func reasons(all []string) string {
	const most = 3
	if more := len(all) - most; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(all[:most], "; "), more)
	}
	return strings.Join(all, "; ")
}

// listed is names as people list them, the first few.
func listed(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return names[0]
}
