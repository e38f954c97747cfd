package doctor

import (
	"maps"
	"slices"
	"testing"
)

// host is Facts for tests, to begin with those of a Debian Postfix that is set up well.
type host struct{ Facts }

const bundleFile = "/etc/ssl/certs/ca-certificates.crt"

// sound is a chrooted Postfix of this version that asks a running stsmapd with the right features.
func soundHost(version string) *host {
	name := "sts"
	parameters := map[string]string{
		"mail_version": version, "queue_directory": "/var/spool/postfix", "mail_owner": "postfix",
		"compatibility_level": "3.6",
		"default_transport":   "smtp", "relay_transport": "relay", "relayhost": "",
		policyMaps: "", securityLevel: "may", "smtp_tls_per_site": "", "smtp_use_tls": "no", "smtp_enforce_tls": "no",
		"smtp_tls_enforce_peername": "yes", dnsSupport: "", "disable_dns_lookups": "no", hostLookup: "dns",
		ignoreMX: "no",
		caFile:   bundleFile, "smtp_tls_CApath": "", "tls_append_default_CA": "no", "smtp_tls_trust_anchor_file": "",
		"smtp_tls_loglevel": "1",
	}
	v := parseVersion(version)
	switch {
	case v.atLeast(3, 10, 0):
		name = "sts+tlsrpt"
		parameters["smtp_tlsrpt_enable"] = "no"
		if v.atLeast(3, 10, 5) {
			parameters[mxPatterns] = "yes"
		}
	case !v.atLeast(3, 4, 0):
		name = "sts+nosni"
	}
	parameters[policyMaps] = "socketmap:inet:127.0.0.1:8461:" + name
	h := &host{Facts{
		Directory: "/etc/postfix", Parameters: parameters, Written: maps.Clone(parameters),
		Services: []Service{
			service("smtp/inet", "smtpd", "y"), service("smtp/unix", "smtp", "y"), service("relay/unix", "smtp", "y"),
			service("proxymap/unix", "proxymap", "n"),
			service("lmtp/unix", "lmtp", "y"),
		},
		Listeners: []string{defaultServer}, Bundle: bundleFile,
		Answers: map[Query]Answer{}, Sockets: map[SocketPath]Socket{}, Files: map[string]File{bundleFile: FileGood},
		Tables: map[Lookup]TableState{},
	}}
	return h.answer(defaultServer, Stsmapd, "sts", name)
}

func service(name, command, chroot string) Service {
	return Service{Name: name, Command: command, Chroot: chroot, Overrides: map[string]string{}}
}

// set sets a parameter of main.cf.
func (h *host) set(parameter, value string) *host {
	h.Parameters[parameter], h.Written[parameter] = value, value
	return h
}

// maps sets smtp_tls_policy_maps.
func (h *host) maps(value string) *host { return h.set(policyMaps, value) }

// answer says who answers at an endpoint when asked for these maps.
func (h *host) answer(endpoint string, kind AnswerKind, names ...string) *host {
	for _, name := range names {
		h.Answers[Query{endpoint, name}] = Answer{Kind: kind, Detail: "as the test says"}
	}
	return h
}

// override sets -o of a service.
func (h *host) override(name, parameter, value string) *host {
	h.service(name).Overrides[parameter] = value
	return h
}

func (h *host) service(name string) *Service {
	i := slices.IndexFunc(h.Services, func(s Service) bool { return s.Name == name })
	return &h.Services[i]
}

// add adds a line to master.cf.
func (h *host) add(s Service) *host {
	h.Services = append(h.Services, s)
	return h
}

// chroot sets the chroot column of every SMTP client.
func (h *host) chroot(column string) *host {
	h.service("smtp/unix").Chroot = column
	h.service("relay/unix").Chroot = column
	return h
}

func (h *host) socket(path, from string, kind SocketKind) *host {
	h.Sockets[SocketPath{path, from}] = Socket{Kind: kind, At: path}
	return h
}

func (h *host) file(name string, state File) *host {
	h.Files[name] = state
	return h
}

func (h *host) table(text string, kind TableKind) *host {
	h.Tables[Lookup{text, probeDomain}] = TableState{Kind: kind, Detail: "fatal: as the test says"}
	return h
}

// ids are those of a report's findings, those about which there is something to do before a bar, and the notes behind
// it.
func ids(r Report) []string {
	var list []string
	for _, f := range r.Findings {
		list = append(list, string(f.Severity)+" "+f.ID)
	}
	return list
}

// changed is what a report would change in main.cf.
func changed(r Report) map[string]string {
	m := map[string]string{}
	for _, c := range r.Changes {
		m[c.Parameter] = c.New
	}
	return m
}

func find(t *testing.T, r Report, id string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("no finding %s: %v", id, ids(r))
	return Finding{}
}
