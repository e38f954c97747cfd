package admin

import (
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// mapNames returns the map names whose answers Domain has.
func mapNames() []string {
	return []string{"sts", "sts+tlsrpt", "sts+dane", "sts+dane+tlsrpt", "sts+strict", "sts+defer", "sts+nosni"}
}

// viewPolicy converts what is known about a policy. k.Entry must not be nil.
func viewPolicy(k resolver.Known) Policy {
	e := k.Entry
	p := Policy{
		Domain: k.Domain.String(), Mode: e.Policy.Mode.String(), MX: term.Texts(e.Policy.MX()),
		MaxAge: int64(e.Policy.MaxAge / time.Second),
		ID:     e.ID, Live: k.Live, Fetched: wholeSecond(e.Fetched), Expires: wholeSecond(e.Expires()),
		Used:        wholeSecond(k.Used),
		NextRefresh: wholeSecond(k.NextRefresh), NextCheck: wholeSecond(k.NextCheck), InMemory: k.InMemory,
		Unsaved:  k.Unsaved,
		Override: viewOverride(k.Override), Answer: new(Answer), Text: e.Policy.Text, Origin: e.Origin,
	}
	*p.Answer = answer(k, "sts")
	if t := e.Failures; t.Count > 0 {
		p.FetchFailures = &FetchFailures{
			Count: t.Count, Since: wholeSecond(t.Since), RetryAt: wholeSecond(t.RetryAt), Reason: t.Reason}
	}
	return p
}

// viewDomain converts everything known about a domain. storeErr, if not nil, is why data may be missing.
func viewDomain(k resolver.Known, storeErr error) Domain {
	d := Domain{Domain: k.Domain.String(), Negative: viewNegative(k.Negative), Override: viewOverride(k.Override)}
	if k.Entry != nil {
		p := viewPolicy(k)
		p.Override, p.Answer = nil, nil // they are in Domain
		d.Policy = &p
	}
	for _, name := range mapNames() {
		d.Answers = append(d.Answers, answer(k, name))
	}
	if storeErr != nil {
		d.StoreError = storeErr.Error()
	}
	return d
}

// answer returns the answer of a valid map name.
func answer(k resolver.Known, mapName string) Answer {
	f, _ := tlspolicy.ParseMapName(mapName)
	v, ok := k.Verdict(resolver.Question{Strict: f.Strict, DANE: f.DANE})
	if !ok {
		return Answer{Map: mapName}
	}
	return rendered(mapName, f, v)
}

func rendered(mapName string, f tlspolicy.Features, v resolver.Verdict) Answer {
	reply := tlspolicy.Render(f, v)
	return Answer{Map: mapName, Outcome: v.Outcome.String(), Status: reply.Status().String(), Data: reply.Data()}
}

func viewNegative(a resolver.Negative) *Negative {
	switch a := a.(type) {
	case resolver.NoPolicy:
		return &Negative{Outcome: resolver.Absent.String(), NextLookup: wholeSecond(a.Expires())}
	case *resolver.LookupFailed:
		return &Negative{Outcome: resolver.Unknown.String(), Failures: a.Failures, NextLookup: wholeSecond(a.RetryAt),
			Reason: a.Err.Error()}
	case *resolver.FetchFailed:
		return &Negative{Outcome: resolver.Unfetched.String(), Failures: a.Failures.Count,
			NextLookup: wholeSecond(a.CheckAt),
			RetryAt:    wholeSecond(a.Failures.RetryAt), FailedID: a.Failures.ID, Reason: a.Err.Error()}
	case *resolver.HostFailed:
		return &Negative{Outcome: resolver.Unable.String(), NextLookup: wholeSecond(a.RetryAt), Reason: a.Err.Error()}
	default:
		return nil
	}
}

func viewUnavailable(domain dnsname.Name, f *resolver.FetchFailed) Unavailable {
	t := f.Failures
	return Unavailable{Domain: domain.String(), ID: t.ID, Failures: t.Count, Since: wholeSecond(t.Since),
		RetryAt: wholeSecond(t.RetryAt), Reason: f.Err.Error()}
}

func viewOverride(o *resolver.Override) *Override {
	if o == nil {
		return nil
	}
	view := &Override{Domain: o.String(), Action: o.Action.String(), MX: term.Texts(o.MX),
		Until:  wholeSecond(o.Until),
		Reason: o.Reason}
	if o.Action == resolver.ActionEnforce {
		v := resolver.Decide(time.Time{}, resolver.Question{}, o, nil, nil)
		a := rendered("sts", tlspolicy.Features{}, v)
		view.Answer = &a
	}
	return view
}

// viewRefreshed converts the result of a refresh; err is the error of Service.Refresh.
func viewRefreshed(domain string, found resolver.Finding, k resolver.Known, err error) Refreshed {
	v := resolver.Decide(time.Time{}, resolver.Question{}, nil, found, nil)
	r := Refreshed{Domain: domain, Outcome: v.Outcome.String()}
	if err != nil {
		r.Error = err.Error()
	}
	if k.Entry != nil {
		p := viewPolicy(k)
		r.Policy = &p
	}
	return r
}

// wholeSecond truncates a time to seconds.
func wholeSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
