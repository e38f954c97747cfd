package admin

import (
	"net/http"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// domainView is all that is known of one domain.
type domainView struct {
	Name       string
	Policy     *policyView // nil: there is none
	Absence    *absenceView
	Override   *overrideView
	Answers    []answerView
	StoreError string // why that may not be all
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

type absenceView struct {
	What     string
	Reason   string
	Failures int
	NextLook time.Time
}

type overrideView struct {
	Domain, Action, Reason string
	MX                     []string
	Until                  time.Time
}

// answerView is what Postfix is told under a map name.
type answerView struct {
	Map   string
	Reply string // "": stsmapd has to look first
}

func (s *WebServer) domain(r *http.Request) (view, error) {
	name, err := dnsname.Parse(r.PathValue("domain"))
	if err != nil {
		return nil, &pageError{http.StatusBadRequest, "No domain", err.Error()}
	}
	k, err := s.opt.Service.Known(r.Context(), name)
	if err == nil && k.Empty() {
		return nil, &pageError{http.StatusNotFound, name.String(),
			"Nothing is known of this domain. It is looked up when there is mail for it."}
	}
	v := domainView{Name: name.String(), Policy: pagePolicy(k), Absence: pageAbsence(k.Negative)}
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

func pageAbsence(a resolver.Negative) *absenceView {
	switch a := a.(type) {
	case resolver.NoPolicy:
		return &absenceView{What: "The DNS says that the domain has no MTA-STS policy.", NextLook: a.Expires()}
	case *resolver.LookupFailed:
		return &absenceView{What: "The DNS does not say whether the domain has a policy.", Reason: a.Err.Error(),
			Failures: a.Failures, NextLook: a.RetryAt}
	case *resolver.FetchFailed:
		return &absenceView{What: "A policy is announced, but cannot be fetched or is invalid: mail goes as if there " +
			"were none.",
			Reason: a.Err.Error(), Failures: a.Failures.Count, NextLook: a.CheckAt}
	case *resolver.HostFailed:
		return &absenceView{What: "This host lacks what it needs to look for a policy: mail goes as if there were " +
			"none until this host is mended.",
			Reason: a.Err.Error(), NextLook: a.RetryAt}
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

// answer is what Postfix would be told under a map name, which is valid.
func answerRow(k resolver.Known, mapName string) answerView {
	f, _ := tlspolicy.ParseMapName(mapName)
	v, ok := k.Verdict(resolver.Question{Strict: f.Strict, DANE: f.DANE})
	if !ok {
		return answerView{Map: mapName}
	}
	return answerView{mapName, tlspolicy.Render(f, v).String()}
}
