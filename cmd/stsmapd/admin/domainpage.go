package admin

import (
	"net/http"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// domainView is the page of one domain.
type domainView struct {
	Name       string
	Policy     *policyView // nil: there is none
	Negative   *negativeView
	Override   *overrideView
	Answers    []answerView
	StoreError string // why data may be missing
}

func (domainView) template() string { return "domain.html" }

type policyView struct {
	policyRow
	ID          string
	MX          []string
	MaxAge      time.Duration
	Used        time.Time
	NextRefresh time.Time
	NextCheck   time.Time
	RetryAt     time.Time
	InMemory    bool
	Unsaved     bool
	Text        string
}

type negativeView struct {
	What       string
	Reason     string
	Failures   int
	NextLookup time.Time
}

type overrideView struct {
	Domain, Action, Reason string
	MX                     []string
	Until                  time.Time
}

// answerView is the answer of one map name.
type answerView struct {
	Map   string
	Reply string // "": not known without a lookup
}

func (s *WebServer) domain(r *http.Request) (view, error) {
	name, err := dnsname.Parse(r.PathValue("domain"))
	if err != nil {
		return nil, &pageError{http.StatusBadRequest, "Invalid domain", err.Error()}
	}
	k, err := s.opt.Service.Known(r.Context(), name)
	if err == nil && k.Empty() {
		return nil, &pageError{http.StatusNotFound, name.String(),
			"Nothing is known about this domain. It is looked up when there is mail for it."}
	}
	v := domainView{Name: name.String(), Policy: pagePolicy(k), Negative: pageNegative(k.Negative)}
	if err != nil {
		v.StoreError = err.Error()
	}
	if k.Override != nil {
		o := pageOverride(k.Override)
		v.Override = &o
	}
	for _, m := range mapNames() {
		v.Answers = append(v.Answers, answerRow(k, m))
	}
	return v, nil
}

func pagePolicy(k resolver.Known) *policyView {
	if k.Entry == nil {
		return nil
	}
	e := k.Entry
	p := &policyView{policyRow: policyRowOf(k), ID: e.ID, MaxAge: e.Policy.MaxAge, Used: k.Used,
		NextRefresh: k.NextRefresh, NextCheck: k.NextCheck,
		RetryAt: e.Failures.RetryAt, InMemory: k.InMemory, Unsaved: k.Unsaved, Text: e.Policy.Text}
	for _, mx := range e.Policy.MX {
		p.MX = append(p.MX, mx.String())
	}
	return p
}

func pageNegative(a resolver.Negative) *negativeView {
	switch a := a.(type) {
	case resolver.NoPolicy:
		return &negativeView{What: "The DNS says that the domain has no MTA-STS policy.", NextLookup: a.Expires()}
	case *resolver.LookupFailed:
		return &negativeView{What: "The DNS does not say whether the domain has a policy.", Reason: a.Err.Error(),
			Failures: a.Failures, NextLookup: a.RetryAt}
	case *resolver.FetchFailed:
		return &negativeView{What: "The announced policy cannot be fetched, or is invalid. Mail is delivered as if " +
			"there were none.",
			Reason: a.Err.Error(), Failures: a.Failures.Count, NextLookup: a.CheckAt}
	case *resolver.HostFailed:
		return &negativeView{What: "A fault of this host prevents the lookup. Mail is delivered as if there were no " +
			"policy until the fault is repaired.",
			Reason: a.Err.Error(), NextLookup: a.RetryAt}
	}
	return nil
}

func pageOverride(o *resolver.Override) overrideView {
	v := overrideView{Domain: o.String(), Action: o.Action.String(), Reason: o.Reason, Until: o.Until}
	for _, mx := range o.MX {
		v.MX = append(v.MX, mx.String())
	}
	return v
}

// answerRow returns the answer of a valid map name.
func answerRow(k resolver.Known, mapName string) answerView {
	f, _ := tlspolicy.ParseMapName(mapName)
	v, ok := k.Verdict(resolver.Question{Strict: f.Strict, DANE: f.DANE})
	if !ok {
		return answerView{Map: mapName}
	}
	return answerView{mapName, tlspolicy.Render(f, v).String()}
}
