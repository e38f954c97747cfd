// Package doctor checks whether a Postfix is configured to query stsmapd, and says what to change.
//
// Postfix's SMTP client, smtp(8), looks up each destination in the tables of smtp_tls_policy_maps, in order, until one
// has an entry; stsmapd is one of them, a socketmap. Mistakes have one of three effects. If a table fails, does not
// answer, or replies with an attribute that this Postfix does not know, all mail is deferred. If a table before stsmapd
// matches every destination, or a service of master.cf overrides the setting, policies are ignored silently. Without CA
// certificates, no host meets a policy. Chrooted services of master.cf see the queue directory as /, which changes the
// path of a UNIX socket, and each service may override main.cf.
//
// Postfix collects Facts about the host (postfix.go, query.go, files.go): it runs postconf and postmap, queries the
// socketmap servers that Postfix would query, and looks at files. Only Set changes anything. Diagnose, which is pure,
// turns the Facts into a Report.
package doctor

import (
	"cmp"
	"slices"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// The severities. Errors and warnings need a change; a note is information.
const (
	Error   Severity = "error"   // mail is deferred, or less protected than the configuration says
	Warning Severity = "warning" // it works, but not as well as it could
	Note    Severity = "note"    // no change is needed
)

// rank is the order of findings.
func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Note}, s) }

// Fix is one setting that repairs a finding.
type Fix struct {
	// service of master.cf whose override (-o) to set, such as smtp/unix; "": main.cf
	Service   string `json:"service,omitempty"`
	Parameter string `json:"parameter"`
	Value     string `json:"value"`
}

// Finding is one result of a diagnosis.
type Finding struct {
	ID       string   `json:"id"` // stable, such as "no-ca"
	Severity Severity `json:"severity"`
	Services []string `json:"services"` // of master.cf, such as smtp/unix; empty if no service is concerned
	Where    []string `json:"where"`    // file:line of main.cf or master.cf; empty if nothing is set there
	Problem  string   `json:"problem"`
	Cure     string   `json:"cure"` // "" if no change is needed
	Fixes    []Fix    `json:"fixes"`

	about string // the parameter; "": that of the first of Fixes
}

// Change is a change of a line of main.cf.
type Change struct {
	Parameter string `json:"parameter"`
	Old       string `json:"old"` // as written, or Postfix's default
	New       string `json:"new"`
}

// Report is the result of the diagnosis of a Postfix.
type Report struct {
	Version   string    `json:"version"`
	Directory string    `json:"config_directory"`
	Clients   []Client  `json:"services"` // the services of master.cf that are SMTP clients
	OK        bool      `json:"ok"`       // no errors and no warnings
	Findings  []Finding `json:"findings"` // the worst first
	Changes   []Change  `json:"changes"`  // made by --apply
	Blocked   []string  `json:"blocked"`  // why the changes must not be made now: the effects that they would have
}

// Client is a service of master.cf that runs smtp(8).
type Client struct {
	Name   string `json:"name"` // such as smtp/unix
	Chroot bool   `json:"chroot"`
}

// Diagnose judges the facts. Facts that were not collected count as unknown and cause no finding.
func Diagnose(f Facts) Report {
	d := &diagnosis{facts: &f}
	r := Report{
		Version: f.Parameters["mail_version"], Directory: f.Directory,
		Clients: []Client{}, Findings: []Finding{}, Changes: []Change{}, Blocked: []string{},
	}
	views := viewsOf(&f)
	for _, v := range views {
		r.Clients = append(r.Clients, Client{v.service.Name, v.facts.chroot(v.service)})
	}
	d.run(views)
	r.Add(d.findings...)
	for _, fix := range d.fixes {
		if fix.Service == "" {
			r.Changes = append(r.Changes, Change{fix.Parameter, f.Written[fix.Parameter], fix.Value})
		}
	}
	if slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Parameter == policyMaps }) {
		r.Blocked = append(r.Blocked, d.blocked...)
	}
	return r
}

// Add adds findings, behind those that are as bad.
func (r *Report) Add(findings ...Finding) {
	r.Findings = append(r.Findings, findings...)
	slices.SortStableFunc(r.Findings,
		func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	r.OK = !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
}

// diagnosis collects findings.
type diagnosis struct {
	facts    *Facts
	findings []Finding
	fixes    []Fix    // of all findings, each parameter of a service once
	blocked  []string // why smtp_tls_policy_maps must not be changed yet
	missing  bool     // Postfix does not query stsmapd yet
}

// run applies every rule.
func (d *diagnosis) run(views []view) {
	if !d.judgeSupport(views) {
		return
	}
	for _, s := range scopesOf(d.facts, views) {
		mapsRules{d, s}.judge()
	}
	d.judgeWarnings()
	d.judgeInstances()
	for _, v := range views {
		if !v.principal {
			continue
		}
		client := clientRules{d}
		client.judgeValues(v)
		client.judgeEngine(v)
		client.judgeDestinations(v)
		d.judgeLevel(v)
		d.judgeDANE(v)
		d.judgeAuthorities(v)
		d.judgeObsolete(v)
		d.addNotes(v)
	}
}

// add adds a finding about a service. The same finding about another service is extended.
func (d *diagnosis) add(v view, found Finding) {
	for i, fix := range found.Fixes {
		if fix.Service != "" { // postconf -P takes no space in a value
			fix.Value = strings.ReplaceAll(fix.Value, ", ", ",")
			found.Fixes[i] = fix
		}
		same := func(old Fix) bool { return old.Service == fix.Service && old.Parameter == fix.Parameter }
		if !slices.ContainsFunc(d.fixes, same) {
			d.fixes = append(d.fixes, fix)
		}
	}
	if found.Fixes == nil {
		found.Fixes = []Fix{}
	}
	found.Services, found.Where = []string{}, placesOf(v, found)
	if v.service.Name != "" {
		found.Services = append(found.Services, v.service.Name)
	}
	for i, old := range d.findings {
		if old.ID != found.ID || old.Severity != found.Severity || old.Problem != found.Problem ||
			old.Cure != found.Cure {
			continue
		}
		for _, name := range found.Services {
			d.findings[i].Services = include(d.findings[i].Services, name)
		}
		for _, fix := range found.Fixes {
			d.findings[i].Fixes = include(d.findings[i].Fixes, fix)
		}
		for _, place := range found.Where {
			d.findings[i].Where = include(d.findings[i].Where, place)
		}
		return
	}
	d.findings = append(d.findings, found)
}
