package check

import (
	"fmt"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// maps returns the map names whose answers a check reports: for a Postfix without DANE, one with DANE, and one of
// version 3.10 or later.
func maps() []string { return []string{"sts", "sts+dane", "sts+dane+tlsrpt"} }

// decision is the input of resolver.Decide in the daemon.
type decision struct {
	at       time.Time
	to       dane.Destination
	finding  resolver.Finding
	override *resolver.Override // in force for the domain; nil: none
	policy   *mtasts.Policy     // by which MX hosts are judged, in any mode; nil: none
}

// decide turns what was seen into what the daemon would find with an empty cache.
func decide(l *checkRun, overrides *resolver.Overrides, record lookupResult[string], file *fetchResult) decision {
	d := decision{at: l.at, to: l.to, override: overrides.For(l.to.Domain, l.at)}
	parsed, err := mtasts.ParseRecord(record.answer.Records)
	own := record.err
	if own == nil && file != nil {
		own = file.inspection.Err
	}
	switch {
	case fault.Of(own) == fault.Exhausted:
		d.finding = resolver.Busy{Err: own}
	case fault.Of(own) == fault.Host:
		d.finding = &resolver.HostFailed{Err: own}
	case record.err != nil:
		d.finding = &resolver.LookupFailed{
			Err: fmt.Errorf("look up the MTA-STS record of %s: %w", l.to.Domain, record.err)}
	case err != nil || file == nil:
		d.finding = resolver.NoPolicy{}
	case file.inspection.Err != nil:
		d.finding = &resolver.FetchFailed{Err: file.inspection.Err}
	default:
		held := resolver.NewCachedPolicy(resolver.Entry{Domain: l.to.Domain, ID: parsed.ID,
			Policy: file.inspection.Policy, Fetched: l.at, Checked: l.at}, time.Time{})
		d.finding = held
		d.policy = hostPolicy(held)
	}
	if v := d.verdict(tlspolicy.Features{}, dane.Finding{}); v.Override != nil && v.Policy != nil {
		d.policy = hostPolicy(v.Policy)
	}
	return d
}

// hostPolicy returns the policy by which hosts are judged, nil for mode none.
func hostPolicy(h *resolver.CachedPolicy) *mtasts.Policy {
	p := h.Policy()
	if p.Mode == mtasts.ModeNone {
		return nil
	}
	return &p
}

// verdict returns the daemon's verdict for a Postfix with these features.
func (d decision) verdict(f tlspolicy.Features, found dane.Finding) resolver.Verdict {
	q := resolver.Question{Destination: d.to, Strict: f.Strict, DANE: f.DANE}
	return resolver.Decide(d.at, q, d.override, d.finding, func() dane.Finding { return found })
}

// answers returns the replies for maps().
func (d decision) answers(found dane.Finding) []Answer {
	var answers []Answer
	for _, name := range maps() {
		f, err := tlspolicy.ParseMapName(name)
		if err != nil {
			panic(err) // maps and tlspolicy disagree
		}
		v := d.verdict(f, found)
		answers = append(answers,
			Answer{Map: name, Outcome: v.Outcome.String(), Reply: strings.TrimSpace(tlspolicy.Render(f, v).String())})
	}
	return answers
}

// describeOverride converts an override; nil for nil.
func describeOverride(o *resolver.Override) *Override {
	if o == nil {
		return nil
	}
	return &Override{Domain: o.String(), Action: o.Action.String(), MX: term.Texts(o.MX), Reason: o.Reason}
}
