package admin

import (
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// mapNames are those of which Domain tells the answers.
func mapNames() []string {
	return []string{"sts", "sts+tlsrpt", "sts+dane", "sts+dane+tlsrpt", "sts+strict", "sts+defer", "sts+nosni"}
}

// viewPolicy shows what k knows of a policy; its Entry is not nil.
func viewPolicy(k resolver.Known) Policy {
	e := k.Entry
	p := Policy{
		Domain: k.Domain.String(), Mode: e.Policy.Mode.String(), MX: spell(e.Policy.MX),
		MaxAge: int64(e.Policy.MaxAge / time.Second),
		ID:     e.ID, Live: k.Live, Fetched: second(e.Fetched), Expires: second(e.Expires()), Used: second(k.Used),
		NextRefresh: second(k.NextRefresh), NextCheck: second(k.NextCheck), InMemory: k.InMemory, Unsaved: k.Unsaved,
		Override: viewOverride(k.Override), Answer: new(Answer), Text: e.Policy.Text, Origin: e.Origin,
	}
	*p.Answer = answer(k, "sts")
	if t := e.Failures; t.Count > 0 {
		p.Trouble = &Trouble{Failures: t.Count, Since: second(t.Since), RetryAt: second(t.RetryAt), Reason: t.Reason}
	}
	return p
}

// viewDomain shows all that k knows; storeErr says why that may not be all.
func viewDomain(k resolver.Known, storeErr error) Domain {
	d := Domain{Domain: k.Domain.String(), Absence: viewAbsence(k.Negative), Override: viewOverride(k.Override)}
	if k.Entry != nil {
		p := viewPolicy(k)
		p.Override, p.Answer = nil, nil // they stand beside it
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

// answer is what Postfix would be told under a map name that is valid.
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

func viewAbsence(a resolver.Negative) *Absence {
	switch a := a.(type) {
	case resolver.NoPolicy:
		return &Absence{Outcome: resolver.Absent.String(), NextLook: second(a.Expires())}
	case *resolver.LookupFailed:
		return &Absence{Outcome: resolver.Unknown.String(), Failures: a.Failures, NextLook: second(a.RetryAt),
			Reason: a.Err.Error()}
	case *resolver.FetchFailed:
		return &Absence{Outcome: resolver.Unfetched.String(), Failures: a.Failures.Count, NextLook: second(a.CheckAt),
			RetryAt: second(a.Failures.RetryAt), FailedID: a.Failures.ID, Reason: a.Err.Error()}
	case *resolver.HostFailed:
		return &Absence{Outcome: resolver.Unable.String(), NextLook: second(a.RetryAt), Reason: a.Err.Error()}
	default:
		return nil
	}
}

func viewOverride(o *resolver.Override) *Override {
	if o == nil {
		return nil
	}
	view := &Override{Domain: o.String(), Action: o.Action.String(), MX: spell(o.MX), Until: second(o.Until),
		Reason: o.Reason}
	if o.Action == resolver.ActionEnforce {
		v := resolver.Decide(time.Time{}, resolver.Question{}, dane.Finding{}, resolver.Overridden{By: o})
		a := rendered("sts", tlspolicy.Features{}, v)
		view.Answer = &a
	}
	return view
}

// viewRefreshed shows what a refresh found; err as Service.Refresh returned it.
func viewRefreshed(domain string, found resolver.Finding, k resolver.Known, err error) Refreshed {
	v := resolver.Decide(time.Time{}, resolver.Question{}, dane.Finding{}, found)
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

func viewStatus(info Info, s resolver.Status, overrides int) Status {
	view := Status{
		Info: info, Stored: counted(s.Stored), NoPolicy: counted(s.Negatives),
		InMemory: InMemory{Enforce: s.Policies.Enforce, Testing: s.Policies.Testing, None: s.Policies.None,
			Expired: s.Policies.Expired, Failing: s.Policies.Failing},
		Refreshes: s.Refreshes, Overdue: s.Overdue, Lookups: s.Lookups, Fetches: s.Fetches, Unsaved: s.Unsaved,
		Overrides: overrides,
		Problems:  []string{},
	}
	if s.Failing {
		view.Problems = append(view.Problems,
			"the policy store cannot be written: policies are served from memory, and a restart would "+
				"forget those that wait for the disk; check the disk space and the state directory")
	}
	for _, f := range s.HostFaults {
		view.Problems = append(view.Problems, f.String())
	}
	if s.FleetFailing {
		view.Problems = append(view.Problems,
			"the shared engine cannot be asked, or takes no writes: this host goes on with what it knows "+
				"itself; check the engine, its memory, and shared.url")
	}
	if s.Unwritten > 0 {
		view.Problems = append(view.Problems, "more policies could not be written to the store than can wait for it: "+
			"they are in memory until they are refreshed, and a restart before would forget them")
	}
	return view
}

// counted leaves out what could not be counted.
func counted(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

func spell(patterns []mtasts.Pattern) []string {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.String()
	}
	return texts
}

// second is a time as people want to read it.
func second(t time.Time) time.Time { return t.Truncate(time.Second) }
