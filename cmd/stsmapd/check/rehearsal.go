package check

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Traffic is a domain that mail went to.
type Traffic struct {
	Domain     dnsname.Name
	Recipients int // a message counts once for each recipient
}

// Rehearsal is what would become of the mail that a host sends if it kept MTA-STS. Its JSON form is the last line of
// `stsmapd check --maillog --json`. Counts are of domains, recipients apart.
type Rehearsal struct {
	Domains       int         `json:"domains"`
	Recipients    int         `json:"recipients"`
	PeriodSeconds int         `json:"period_seconds"` // from the first to the last mail
	Unknown       int         `json:"unknown"`        // the DNS did not say whether there is a policy
	Announce      int         `json:"announce"`       // a policy
	Enforce       int         `json:"enforce"`        // and overrides that enforce one
	Testing       int         `json:"testing"`
	None          int         `json:"none"`      // mode none
	Ignored       int         `json:"ignored"`   // by an override
	Unfetched     int         `json:"unfetched"` // the policy cannot be fetched, or is invalid
	Verified      int         `json:"verified"`  // of those that enforce
	Returned      int         `json:"returned"`  // of those that enforce: they take no mail
	Waits         []WouldWait `json:"waits"`     // because of a policy
	// WaitsWithDANE are the domains whose mail would wait only at a Postfix with DANE.
	WaitsWithDANE []WouldWait `json:"waits_with_dane"`
	Down          []WouldWait `json:"down"` // of those that enforce: mail to them waits today, policy or not
	// WaitingRecipients are those of Waits.
	WaitingRecipients int `json:"waiting_recipients"`

	recipients map[dnsname.Name]int
}

// WouldWait is a domain whose mail would wait.
type WouldWait struct {
	Domain     string `json:"domain"`
	Recipients int    `json:"recipients"`
	Reason     string `json:"reason"`   // "mx1.partner.example offers no STARTTLS"
	Override   string `json:"override"` // lines for stsmapd.toml that let the mail go; "": none would, or there is one
}

// maxRecords is the number of TXT records that are looked up at a time.
const maxRecords = 64

// Announcing looks up which of the domains announce a policy or have an override. Mail to the others needs no check.
// unknown is the number of domains for which the DNS lookup failed. Announcing calls done after each domain, one call
// at a time. If ctx ends, the result is incomplete.
func (c *Checker) Announcing(ctx context.Context, traffic []Traffic, done func()) (announcing []Traffic, unknown int) {
	type answer uint8
	const (
		no answer = iota
		yes
		failed
	)
	answers, lookedUp := make([]answer, len(traffic)), make(chan struct{})
	var group errgroup.Group
	group.SetLimit(maxRecords)
	go func() {
		defer close(lookedUp)
		for i, t := range traffic {
			group.Go(func() error {
				found, err := c.opts.DNS.TXT(ctx, resolver.TXTName(t.Domain))
				_, bad := mtasts.ParseRecord(found.Records)
				switch {
				case c.opts.Overrides.For(t.Domain, c.opts.Now()) != nil, err == nil && bad == nil:
					answers[i] = yes
				case err != nil:
					answers[i] = failed
				}
				lookedUp <- struct{}{}
				return nil
			})
		}
		_ = group.Wait() // no function returns an error
	}()
	for range lookedUp {
		done()
	}
	for i, a := range answers {
		switch a {
		case yes:
			announcing = append(announcing, traffic[i])
		case failed:
			unknown++
		}
	}
	return announcing, unknown
}

// NewRehearsal returns the summary of the mail that was sent within a period, without any report. Call Add with the
// report on each domain that Announcing returned.
func NewRehearsal(traffic []Traffic, period time.Duration, unknown int) *Rehearsal {
	s := &Rehearsal{Domains: len(traffic), PeriodSeconds: seconds(period), Unknown: unknown, Waits: []WouldWait{},
		WaitsWithDANE: []WouldWait{}, Down: []WouldWait{}, recipients: map[dnsname.Name]int{}}
	for _, t := range traffic {
		s.Recipients += t.Recipients
		s.recipients[t.Domain] = t.Recipients
	}
	return s
}

// overrideTime is the lifetime of a proposed override.
const overrideTime = 30 * 24 * time.Hour

// Add counts the domain of a report.
func (s *Rehearsal) Add(r *Report) {
	if r.Record.Status == Found {
		s.Announce++
	}
	if !r.Result.enforced {
		s.addOther(r)
		return
	}
	s.Enforce++
	domain, err := dnsname.Parse(r.Domain)
	wait := WouldWait{Domain: r.Domain, Recipients: s.recipients[domain], Reason: r.Result.fault}
	switch {
	case r.Override != nil: // a second one for the domain would be an error of the configuration
		wait.Reason += "; the policy is an override's"
	case err == nil:
		wait.Override = OverrideText(domain, r.Result.fault, r.At.Add(overrideTime))
	}
	switch {
	case r.Result.Delivery == Returned:
		s.Returned++
	case r.Result.Delivery == Deferred && !anyUp(r.MX.Hosts):
		wait.Override = ""
		s.Down = append(s.Down, wait)
	case r.Result.Delivery == Deferred:
		s.Waits = append(s.Waits, wait)
		s.WaitingRecipients += wait.Recipients
	case r.Result.WithDANE == Deferred:
		wait.Override, wait.Reason = "", r.Result.daneFault
		s.WaitsWithDANE = append(s.WaitsWithDANE, wait)
	default:
		s.Verified++
	}
}

// addOther counts a domain without a policy that is enforced.
func (s *Rehearsal) addOther(r *Report) {
	switch {
	case r.Override != nil && r.Override.Action == resolver.ActionIgnore.String():
		s.Ignored++
	case r.Policy == nil:
	case r.Policy.Status != "ok":
		s.Unfetched++
	case r.Policy.Mode == mtasts.ModeTesting.String():
		s.Testing++
	default:
		s.None++
	}
}

// anyUp reports whether one of the hosts would accept mail if there were no policy. Postfix then delivers without TLS
// after a TLS fault, and says HELO where EHLO is refused.
func anyUp(hosts []Host) bool {
	for _, h := range hosts {
		if !h.has(ProblemUnreachable, ProblemGreeting, ProblemNoAddress, ProblemNoAnswer) &&
			(!h.has(ProblemSession) || h.TLS != nil) {
			return true
		}
	}
	return false
}
