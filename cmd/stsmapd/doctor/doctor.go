// Package doctor judges whether a Postfix is set up to ask stsmapd, and says what to change.
//
// Postfix's SMTP client, smtp(8), looks up each destination in the tables of smtp_tls_policy_maps, in order, until one
// knows it; stsmapd is one of them, a socketmap. Whatever goes wrong there has one of three ends. A table that fails, a
// reply with an attribute that this Postfix does not know, or no answer: the mail waits, all of it. A table before ours
// that knows every destination, or a service of master.cf with settings of its own: the policies are ignored, without a
// word. No file of CA certificates: the policies are kept, and nobody meets them. The services of master.cf that run
// chrooted see the queue directory as /, which decides where a UNIX socket is, and each may override what main.cf says.
//
// Facts are what was found on the host, Survey says what else to look at, and Diagnose, which is pure, turns all of it
// into a Report. Postfix finds the facts (postfix.go, ask.go, files.go): it runs postconf and postmap, asks the
// socketmap servers that Postfix would ask, and looks at files. It changes nothing but what Set is told to.
package doctor

import (
	"cmp"
	"slices"
)

// Severity says how bad a finding is.
type Severity string

// The severities. Something is to be done about an error and a warning; a note is for information.
const (
	Error   Severity = "error"   // mail waits, or goes out less protected than the configuration says
	Warning Severity = "warning" // it works, but not as well as it could
	Note    Severity = "note"    // nothing is to be done
)

// rank orders findings.
func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Note}, s) }

// Fix is one setting that would mend something.
type Fix struct {
	// an override (-o) of this service of master.cf, such as smtp/unix; "": main.cf
	Service   string `json:"service,omitempty"`
	Parameter string `json:"parameter"`
	Value     string `json:"value"`
}

// Finding is one thing that was noticed.
type Finding struct {
	ID       string   `json:"id"` // stable, such as "no-ca"
	Severity Severity `json:"severity"`
	Services []string `json:"services"` // of master.cf, such as smtp/unix; empty where no service is concerned
	Problem  string   `json:"problem"`
	Cure     string   `json:"cure"` // "" where nothing is to be done
	Fixes    []Fix    `json:"fixes"`
}

// Change is a line of main.cf that should be another.
type Change struct {
	Parameter string `json:"parameter"`
	Old       string `json:"old"` // as written, or Postfix's default
	New       string `json:"new"`
}

// Report is what there is to say about a Postfix.
type Report struct {
	Version   string    `json:"version"`
	Directory string    `json:"config_directory"`
	Clients   []Client  `json:"services"` // the services of master.cf that are SMTP clients
	OK        bool      `json:"ok"`       // no errors and no warnings
	Findings  []Finding `json:"findings"` // the worst first
	Changes   []Change  `json:"changes"`  // what --apply does
	Blocked   []string  `json:"blocked"`  // why the changes must wait: what would happen if they were made now
}

// Client is a service of master.cf that runs smtp(8).
type Client struct {
	Name   string `json:"name"` // such as smtp/unix
	Chroot bool   `json:"chroot"`
}

// Diagnose judges the facts. What Survey asked for and nobody looked at counts as unknown, and is not complained of.
func Diagnose(f Facts) Report {
	d := &diagnosis{facts: &f}
	r := Report{
		Version: f.Parameters["mail_version"], Directory: f.Directory,
		Clients: []Client{}, Findings: []Finding{}, Changes: []Change{}, Blocked: []string{},
	}
	views := viewsOf(&f)
	for _, v := range views {
		r.Clients = append(r.Clients, Client{v.service.Name, v.chroot(v.service)})
	}
	d.judge(views)
	r.Findings = append(r.Findings, d.findings...)
	slices.SortStableFunc(r.Findings,
		func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	r.OK = !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
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

// diagnosis gathers findings.
type diagnosis struct {
	facts    *Facts
	findings []Finding
	fixes    []Fix    // of all findings, each parameter of a service once
	blocked  []string // why smtp_tls_policy_maps must not be changed yet
	fresh    bool     // Postfix does not ask stsmapd yet
}

// judge applies every rule.
func (d *diagnosis) judge(views []view) {
	if !d.able(views) {
		return
	}
	for _, s := range scopesOf(d.facts, views) {
		d.maps(s)
	}
	for _, v := range views {
		if !v.principal {
			continue
		}
		d.level(v)
		d.dane(v)
		d.authorities(v)
		d.outdated(v)
		d.remarks(v)
	}
}

// add notes a finding about a service, together with the same about others.
func (d *diagnosis) add(v view, found Finding) {
	for _, fix := range found.Fixes {
		same := func(old Fix) bool { return old.Service == fix.Service && old.Parameter == fix.Parameter }
		if !slices.ContainsFunc(d.fixes, same) {
			d.fixes = append(d.fixes, fix)
		}
	}
	if found.Fixes == nil {
		found.Fixes = []Fix{}
	}
	found.Services = []string{}
	if v.service.Name != "" {
		found.Services = append(found.Services, v.service.Name)
	}
	for i, old := range d.findings {
		if old.ID != found.ID || old.Severity != found.Severity || old.Problem != found.Problem ||
			old.Cure != found.Cure {
			continue
		}
		for _, name := range found.Services {
			if !slices.Contains(old.Services, name) {
				d.findings[i].Services = append(d.findings[i].Services, name)
			}
		}
		for _, fix := range found.Fixes {
			if !slices.Contains(old.Fixes, fix) {
				d.findings[i].Fixes = append(d.findings[i].Fixes, fix)
			}
		}
		return
	}
	d.findings = append(d.findings, found)
}
