package check

import (
	"fmt"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// prediction is the predicted result of a delivery, with a description that continues "mail to example.com would be ".
type prediction struct {
	delivery Delivery
	words    string
}

// conclude returns the Result of a report whose other parts are complete.
func conclude(r *Report, d decision, found dane.Finding) Result {
	v := d.verdict(tlspolicy.Features{}, dane.Finding{})
	bound := withPolicy(r)
	got := bound
	if v.Outcome != resolver.Enforce {
		got = withoutPolicy(r, d, v)
	}
	with := withDANE(r, d.verdict(tlspolicy.Features{DANE: true}, found), got)
	res := Result{Delivery: got.delivery, WithDANE: with.delivery, enforced: v.Outcome == resolver.Enforce,
		fault:     strings.TrimPrefix(bound.words, "deferred: "),
		daneFault: strings.TrimPrefix(with.words, "deferred: ")}
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
	works := func(x Delivery) bool { return x == Verified || x == NotProbed }
	res.OK = (works(got.delivery) || v.Outcome == resolver.Testing && works(bound.delivery)) &&
		with.delivery != Deferred
	res.Summary = fmt.Sprintf("mail to %s would be %s", r.NextHop, words)
	return res
}

// withoutPolicy predicts a delivery for which no policy is enforced.
func withoutPolicy(r *Report, d decision, v resolver.Verdict) prediction {
	if f, ended := noMXHost(r); ended {
		return f
	}
	const as = "delivered as without MTA-STS: "
	switch v.Outcome {
	case resolver.Testing:
		return prediction{Unverified, as + "the policy is in mode testing"}
	case resolver.None:
		return prediction{Unverified, as + "the policy is in mode none"}
	case resolver.Unknown:
		return prediction{Unverified, as + "the DNS " + dnsReason(v.Reason) + " when asked for " + r.Record.Name}
	case resolver.Unfetched:
		return prediction{Unverified, as + "its policy " + r.Policy.reason}
	case resolver.Unable:
		return prediction{Unverified, as + "this host cannot look up its policy: " + hostReason(v.Reason)}
	case resolver.Overloaded:
		return prediction{Deferred, "deferred: this host cannot look up its policy: " + hostReason(v.Reason)}
	case resolver.Ignored:
		return prediction{Unverified,
			as + "an override of this stsmapd ignores its policy" + reasonSuffix(d.override.Reason)}
	}
	switch r.Record.Status {
	case Several:
		return prediction{Unverified, as + "it has more than one MTA-STS record, so all are ignored"}
	case Malformed:
		return prediction{Unverified, as + "its MTA-STS record is malformed: " + term.Clean(r.Record.Error)}
	}
	return prediction{Unverified, as + "it has no policy"}
}

func reasonSuffix(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + term.Clean(reason) + ")"
}

// noMXHost predicts a delivery for which there is no MX host; false: there is one.
func noMXHost(r *Report) (prediction, bool) {
	switch r.MX.Status {
	case MXNull:
		return prediction{Returned, "returned: the domain takes no mail (null MX)"}, true
	case MXNoDomain:
		return prediction{Returned, "returned: the domain does not exist"}, true
	case MXNoAnswer:
		return prediction{Deferred, "deferred: the MX records cannot be looked up"}, true
	}
	for _, h := range r.MX.Hosts {
		if !h.has(ProblemNoAddress) {
			return prediction{}, false
		}
	}
	if len(r.MX.Hosts) == 1 {
		return prediction{Returned, "returned: " + r.MX.Hosts[0].Name + " has no address in the DNS"}, true
	}
	return prediction{Returned, "returned: no MX host has an address in the DNS"}, true
}

// withPolicy predicts a delivery under the enforced policy.
func withPolicy(r *Report) prediction {
	if f, ended := noMXHost(r); ended {
		return f
	}
	if !anyProbed(r.MX.Hosts) {
		return notProbed(r.MX.Hosts)
	}
	return tryHosts(r.MX.Hosts, func(h Host) (Delivery, string) {
		if h.Passes {
			return Verified, ""
		}
		return Deferred, h.Name + " " + h.Problems[0].Text
	})
}

func anyProbed(hosts []Host) bool {
	for _, h := range hosts {
		if h.Probed {
			return true
		}
	}
	return false
}

// notProbed predicts a delivery by the policy alone.
func notProbed(hosts []Host) prediction {
	var named []string
	for _, h := range hosts {
		if len(h.Problems) == 0 {
			named = append(named, h.Name)
		}
	}
	if len(named) == 0 {
		return prediction{Deferred, "deferred: " + hosts[0].Name + " " + hosts[0].Problems[0].Text}
	}
	return prediction{NotProbed, "delivered to " + listed(named) +
		" only with a valid certificate, which was not checked (--no-smtp)"}
}

// withDANE predicts a delivery by a Postfix that does DANE, with its verdict v; without is the prediction without DANE.
// If no policy is enforced, Postfix's own level dane applies.
func withDANE(r *Report, v resolver.Verdict, without prediction) prediction {
	if f, ended := noMXHost(r); ended {
		return f
	}
	if v.Outcome == resolver.DANEUnknown {
		return prediction{Deferred, "deferred: the TLSA records of the MX hosts cannot be looked up"}
	}
	if v.Outcome == resolver.Enforce || !anyProbed(r.MX.Hosts) || !hasDANE(r.MX.Hosts) {
		return without
	}
	only := v.Outcome == resolver.DANEOnly
	return tryHosts(r.MX.Hosts, func(h Host) (Delivery, string) { return daneDelivery(h, only) })
}

// hasDANE reports whether one of the hosts has TLSA records, or their lookup failed.
func hasDANE(hosts []Host) bool {
	for _, h := range hosts {
		if h.DANE != "" && h.DANE != daneNone {
			return true
		}
	}
	return false
}

// daneDelivery predicts a delivery to a host by a Postfix at level dane, or dane-only if only is true. The text says
// why it is not Verified.
func daneDelivery(h Host, only bool) (Delivery, string) {
	broken := ""
	for _, p := range h.Problems {
		switch p.Code {
		case ProblemNotInPolicy, ProblemTLSVersion, ProblemExpired, ProblemUntrusted, ProblemNoIssuer,
			ProblemWrongName:
		default:
			broken = h.Name + " " + p.Text
		}
	}
	down := h.has(ProblemUnreachable, ProblemGreeting, ProblemNoAddress, ProblemNoAnswer, ProblemSession,
		ProblemNoEHLO)
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

// tryHosts predicts a delivery to the hosts, which are tried by preference; Postfix tries hosts of the same preference
// in any order. passes returns the result for one host and, if that is not Verified, the reason.
func tryHosts(hosts []Host, passes func(Host) (Delivery, string)) prediction {
	var to, weak, faults []string
	var refusing []Host
	best := 0 // preference of the first host that gets mail
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
	f := prediction{Verified, "delivered, verified"}
	switch {
	case len(to) == 0:
		return prediction{Deferred, "deferred: " + joinReasons(faults)}
	case len(weak) > 0:
		f = prediction{Unverified, "delivered, not always verified"}
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
		f.words += ", after " + listed(before) + " without success"
	}
	if len(never) > 0 {
		f.words += ", never to " + listed(never)
	}
	if all := append(weak, faults...); len(all) > 0 {
		f.words += ": " + joinReasons(all)
	}
	return f
}

// joinReasons joins the first reasons.
func joinReasons(all []string) string {
	const most = 3
	if more := len(all) - most; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(all[:most], "; "), more)
	}
	return strings.Join(all, "; ")
}

// listed joins the first names as in a sentence.
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
