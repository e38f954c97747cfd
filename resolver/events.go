package resolver

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/lookups"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// events writes the log lines of the resolver, one for each change of state.
type events struct{ *slog.Logger }

// panicked logs a panic in a lookup, or in what runs in its place.
func (l events) panicked(domain dnsname.Name, p *lookups.PanicError) {
	l.Error("a lookup failed by a fault in stsmapd; the mail is deferred; please report it", "event", "panic",
		"domain", domain, "panic", p.Value, "stack", p.Stack)
}

func (l events) policyExpired(e Entry) {
	l.Info("policy expired; the domain is looked up again", "event", "policy_expired", "domain", e.Domain,
		"mode", e.Policy.Mode, "fetched", e.Fetched, "expired", e.Expires())
}

// policyFetched tells of a policy learnt, changed, or refreshed at last; an unchanged one makes no line.
func (l events) policyFetched(before, now *CachedPolicy) {
	e := now.Entry()
	line := []any{"domain", e.Domain, "mode", e.Policy.Mode, "id", e.ID, "max_age", e.Policy.MaxAge,
		"mx", e.Policy.MX()}
	if e.Origin != "" {
		line = append(line, "from_host", e.Origin)
	}
	switch {
	case before == nil:
		l.Info("policy learnt", append([]any{"event", "policy_learnt"}, line...)...)
		return
	case before.Policy().Text != e.Policy.Text: // another id alone changes nothing
		l.policyChanged(before.Policy(), e, line)
	}
	if t := before.Entry().Failures; !t.Alerted.IsZero() {
		l.Info("policy refreshed again after failures", "event", "refresh_recovered", "domain", e.Domain,
			"failures", t.Count, "failing_since", t.Since)
	}
}

// policyChanged tells of another policy text. That protection ends is a warning: the publisher may not know of it.
func (l events) policyChanged(old mtasts.Policy, e Entry, line []any) {
	line = append([]any{"event", "policy_changed", "old_mode", old.Mode, "old_mx", old.MX()}, line...)
	if old.Mode == mtasts.ModeEnforce && e.Policy.Mode != mtasts.ModeEnforce {
		l.Warn(fmt.Sprintf("policy changed from mode enforce to %s: mail to the domain is no longer protected; if "+
			"that is a surprise, ask its postmaster, or set an override", e.Policy.Mode), line...)
		return
	}
	l.Info("policy changed", line...)
}

// clockJumped tells that the wall clock was set.
func (l events) clockJumped(by time.Duration) {
	l.Warn("the wall clock was set; policies are kept for as long as they had before, and are looked up; nothing is "+
		"removed from the store for a day; check this host's time servers", "event", "clock_jumped", "by", by)
}

// days is a time left as people say it.
func days(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "less than 2 minutes"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// alertInterval is the time between two lines about one policy whose refresh keeps failing.
const alertInterval = 24 * time.Hour

// refreshFailed tells when the fetches of a policy that is live until ends begin to fail, and again each day; never for
// mode none (RFC 8461 section 10.2).
func (l events) refreshFailed(now, ends time.Time, e *Entry) {
	t := &e.Failures
	if e.Policy.Mode == mtasts.ModeNone || (!t.Alerted.IsZero() && now.Sub(t.Alerted) < alertInterval) {
		return
	}
	t.Alerted = now
	l.Warn(fmt.Sprintf("policy for %s expires in %s and cannot be refreshed: it stays in force until then; "+
		"check whether its policy host can be reached from here", e.Domain, days(ends.Sub(now))),
		"event", "refresh_failing", "domain", e.Domain, "mode", e.Policy.Mode, "failures", t.Count,
		"failing_since", t.Since, "expires", ends, "retry_at", t.RetryAt, "error", t.Reason)
}

// fetchFailed logs an announced policy that could not be fetched: the first failure, and then one a day.
func (l events) fetchFailed(domain dnsname.Name, a *FetchFailed) {
	if a.Failures.Count != 1 && !a.Failures.Alerted.IsZero() && a.At.Sub(a.Failures.Alerted) < alertInterval {
		return
	}
	a.Failures.Alerted = a.At
	check := "the error says why it was not tried"
	var failed *fetch.Error
	if errors.As(a.Err, &failed) {
		check = failed.Check()
	}
	l.Warn("cannot fetch the announced policy; mail is delivered as if there were none, and the fetch is tried "+
		"again; "+check, "event", "fetch_failed", "domain", domain, "id", a.Failures.ID,
		"retry_at", a.Failures.RetryAt, "error", a.Err)
}

// negative tells of a record that is there but broken, when that is new, and at debug level of lookups that failed.
func (l events) negative(domain dnsname.Name, d discovery, before, a Negative) {
	switch d := d.(type) {
	case announced:
		if f, ok := a.(*FetchFailed); ok && f.Failures.Count == 0 {
			l.fetchFailed(domain, f) // what other hosts found is the finding here
		}
	case unannounced:
		if _, was := before.(NoPolicy); d.broken() && !was {
			l.Warn("broken MTA-STS record; mail is delivered as if there were none; the domain's publisher must "+
				"repair it",
				"event", "record_broken", "domain", domain, "error", d.why)
		}
	case undiscovered:
		if f, ok := a.(*LookupFailed); ok {
			l.Debug("DNS lookup failed", "event", "lookup_failed", "domain", domain, "failures", f.Failures,
				"retry_at", f.RetryAt, "error", d.err)
		}
	}
}
