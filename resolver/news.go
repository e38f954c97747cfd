package resolver

import (
	"fmt"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// logFetched tells of a policy learnt, changed, or refreshed at last; an unchanged one makes no line.
func (s *Service) logFetched(before, now *Held) {
	e := now.Entry
	line := []any{"domain", e.Domain, "mode", e.Policy.Mode, "id", e.ID, "max_age", e.Policy.MaxAge, "mx", e.Policy.MX}
	if e.Origin != "" {
		line = append(line, "from_host", e.Origin)
	}
	switch {
	case before == nil:
		s.log.Info("policy learnt", append([]any{"event", "policy_learnt"}, line...)...)
		return
	case before.Entry.Policy.Text != e.Policy.Text || before.Entry.ID != e.ID:
		s.log.Info("policy changed", append([]any{"event", "policy_changed"}, line...)...)
	}
	if t := before.Entry.Trouble; !t.Alerted.IsZero() {
		s.log.Info("policy refreshed again after failures", "event", "refresh_recovered", "domain", e.Domain,
			"failures", t.Failures, "failing_since", t.Since)
	}
}

// days is a time left as people say it.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// alertInterval is the time between two lines about one policy whose refresh keeps failing.
const alertInterval = 24 * time.Hour

// logRefreshFailed tells when a live policy's fetches begin to fail, and again each day; never for mode none (RFC 8461
// section 10.2).
func (s *Service) logRefreshFailed(now time.Time, e *Entry) {
	t := &e.Trouble
	if e.Policy.Mode == mtasts.ModeNone || (!t.Alerted.IsZero() && now.Sub(t.Alerted) < alertInterval) {
		return
	}
	t.Alerted = now
	s.log.Warn(fmt.Sprintf("policy for %s expires in %s and cannot be refreshed: it stays in force until then; "+
		"check whether its policy host can be reached from here", e.Domain, days(e.Expires().Sub(now))),
		"event", "refresh_failing", "domain", e.Domain, "mode", e.Policy.Mode, "failures", t.Failures,
		"failing_since", t.Since, "expires", e.Expires(), "retry_at", t.RetryAt, "error", t.Reason)
}

// logUnfetched tells of an announced policy that could not be had, for the first failure and when the id is new.
func (s *Service) logUnfetched(domain dnsname.Name, a *FetchFailed) {
	if a.Trouble.Failures != 1 && !a.Trouble.Alerted.IsZero() && a.At.Sub(a.Trouble.Alerted) < alertInterval {
		return
	}
	a.Trouble.Alerted = a.At
	s.log.Warn("announced policy not to be had: mail goes as if there were none, and the fetch is tried again; "+
		"the domain's publisher must mend it", "event", "fetch_failed", "domain", domain, "id", a.Trouble.ID,
		"retry_at", a.Trouble.RetryAt, "error", a.Err)
}

// logAbsence tells of a record that is there but broken, when that is new, and at debug level of lookups that failed.
func (s *Service) logAbsence(domain dnsname.Name, d discovery, before, a Absence) {
	switch d := d.(type) {
	case announced:
		if f, ok := a.(*FetchFailed); ok && f.Trouble.Failures == 0 {
			s.logUnfetched(domain, f) // what other hosts found is the finding here
		}
	case unannounced:
		if _, was := before.(NoPolicy); d.broken() && !was {
			s.log.Warn("broken MTA-STS record: mail goes as if there were none; the domain's publisher must mend it",
				"event", "record_broken", "domain", domain, "error", d.why)
		}
	case undiscovered:
		if f, ok := a.(*LookupFailed); ok {
			s.log.Debug("DNS lookup failed", "event", "lookup_failed", "domain", domain, "failures", f.Failures,
				"retry_at", f.RetryAt, "error", d.err)
		}
	}
}
