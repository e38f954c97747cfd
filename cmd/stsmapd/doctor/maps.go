package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// maps judges one value of smtp_tls_policy_maps.
func (d *diagnosis) maps(s scope) {
	mine := s.first(ours)
	if mine < 0 && !s.principal() {
		if s.owner != "" {
			d.about(s, Finding{
				ID: "side-service", Severity: Note,
				Problem: "a service with an " + policyMaps +
					" of its own does not ask stsmapd: right for a content filter, " +
					"wrong for mail to the internet",
			})
		}
		return
	}
	fixes := d.change(s)
	for i, t := range s.tables {
		d.other(s, i, t, fixes)
	}
	if mine < 0 {
		d.absent(s, fixes)
		return
	}
	for _, v := range s.views {
		d.connection(v, s.tables[mine], fixes)
	}
	d.name(s, s.tables[mine], fixes)
}

// about notes a finding for all services of the scope.
func (d *diagnosis) about(s scope, f Finding) {
	for _, v := range s.views {
		d.add(v, f)
	}
}

// change is the right value of smtp_tls_policy_maps, where that is another; and says what keeps it from being set.
func (d *diagnosis) change(s scope) []Fix {
	value, t := s.wanted()
	if value == s.value {
		return nil
	}
	for _, v := range s.views {
		if d.facts.Answers[Call{v.endpoint(t), t.name}].Kind == Unasked {
			t.name = "sts" // what a listener was asked for
		}
		if v.trouble(t) {
			why := fmt.Sprintf("no stsmapd answers at %s, and all mail would wait: let it listen there (`listen` in "+
				"stsmapd.toml), "+
				"and start it", v.endpoint(t))
			d.blocked = include(d.blocked, why)
		}
	}
	return []Fix{{s.owner, policyMaps, value}}
}

// absent is for a value without a table of ours.
func (d *diagnosis) absent(s scope, fixes []Fix) {
	d.fresh = true
	f := Finding{ID: "no-map", Severity: Error, Fixes: fixes, Cure: "name stsmapd in " + policyMaps}
	switch {
	case s.first(malformed) >= 0:
		return // said already
	case s.first(wrapped) >= 0:
		f.ID = "map-wrapped"
		f.Problem = fmt.Sprintf(
			"%s asks stsmapd inside of another table: what that makes of the answers cannot be told",
			s.tables[s.first(wrapped)].text)
		f.Cure = "name stsmapd as a table of its own: " + s.spell(table{})
	case s.owner != "":
		f.ID = "map-overridden"
		f.Problem = "master.cf overrides " + policyMaps +
			" without naming stsmapd: whatever main.cf says, this service keeps no " +
			"MTA-STS policy"
		f.Cure = "name stsmapd there, or remove the override"
	default:
		f.Problem = policyMaps + " does not name stsmapd: no MTA-STS policy is kept"
	}
	if !s.editable {
		f.Cure = fmt.Sprintf("%s is composed of other parameters; add by hand: %s", policyMaps, s.spell(table{}))
	}
	d.about(s, f)
}

// other judges the i-th table, unless it is the one that asks stsmapd.
func (d *diagnosis) other(s scope, i int, t table, fixes []Fix) {
	mine := s.first(ours)
	switch t.kind {
	case ours:
		if i != mine {
			d.about(s, Finding{
				ID: "two-maps", Severity: Warning, Fixes: fixes,
				Problem: fmt.Sprintf("stsmapd is asked twice, the second time as %s: that never helps, and doubles "+
					"the waiting", t.text),
				Cure: "leave the first one only",
			})
		}
	case malformed:
		d.about(s, Finding{
			ID: "map-malformed", Severity: Error, Fixes: fixes,
			Problem: t.text + " is no table that Postfix could ask: all mail waits",
			Cure:    "write it as " + s.spell(table{}),
		})
	case rival:
		d.rival(s, t, mine >= 0 && mine < i, fixes)
	case catchAll:
		if i < mine {
			d.about(s, Finding{
				ID: "map-hidden", Severity: Error, Fixes: fixes,
				Problem: t.text + " knows every domain and comes before stsmapd, which is never asked",
				Cure:    "let stsmapd come first",
			})
		}
	case broken:
		detail := d.facts.Tables[t.text].Detail
		if detail == "" {
			detail = "not of the form socketmap:inet:host:port:name or socketmap:unix:/path:name"
		}
		d.about(s, Finding{
			ID: "table-broken", Severity: Error,
			Problem: fmt.Sprintf("the table %s fails, and with it every lookup that comes to it: mail waits (%s)",
				t.text, detail),
			Cure: "mend it (a hash or lmdb table is made by postmap), or remove it from " + policyMaps,
		})
	case plain:
		if i < mine {
			d.about(s, Finding{
				ID: "table-before", Severity: Note,
				Problem: t.text + " comes before stsmapd: for the domains that it knows, stsmapd is not asked",
			})
		}
	}
}

// rival judges a table that asks another daemon.
func (d *diagnosis) rival(s scope, t table, after bool, fixes []Fix) {
	f := Finding{
		ID: "other-daemon", Severity: Warning, Fixes: fixes,
		Problem: t.text + " asks another daemon for MTA-STS policies",
		Cure:    "remove it once stsmapd answers; or let stsmapd listen there in place of the other, and change nothing",
	}
	dead := slices.ContainsFunc(s.views, func(v view) bool {
		return v.trouble(t) && d.facts.Answers[Call{v.endpoint(t), t.name}].Kind != OtherMap
	})
	switch {
	case dead:
		f.Severity = Error
		f.Problem += ", and nobody answers there: mail waits"
	case after:
		f.Problem += ", after stsmapd has said that there is none"
	default:
		f.Problem += ", whose answers are the ones that count"
	}
	d.about(s, f)
}

// connection judges how a service gets to stsmapd.
func (d *diagnosis) connection(v view, t table, fixes []Fix) {
	endpoint := v.endpoint(t)
	answer := d.facts.Answers[Call{endpoint, t.name}]
	f := Finding{Severity: Error, Fixes: fixes}
	way, unix := v.way(t)
	socket := d.facts.Sockets[way]
	outside, hidden := v.outside(t)
	switch {
	case unix && socket.Kind == SocketMissing && hidden && exists(d.facts.Sockets[outside]):
		f.ID = "socket-outside-chroot"
		f.Problem = fmt.Sprintf("the chroot hides the socket: it is at %s, and looked for at %s: all mail waits",
			outside.Path, way.Path)
		f.Cure = fmt.Sprintf("let stsmapd listen on inet:127.0.0.1:8461 or on unix:%s (`listen` in stsmapd.toml), "+
			"and name that", way.Path)
	case unix && (socket.Kind == SocketMissing || socket.Kind == SocketOther):
		f.ID = "nobody-answers"
		f.Problem = fmt.Sprintf("there is no socket at %s: all mail waits", way.Path)
		f.Cure = "start stsmapd, or name the address that it listens on"
	case unix && socket.Kind == SocketClosed && !v.asker(t).Root:
		f.ID = "socket-permission"
		f.Problem = fmt.Sprintf("Postfix's user %q may not connect to %s, by the permissions of %s: all mail waits",
			d.facts.Parameters["mail_owner"], way.Path, socket.At)
		f.Cure = "set socket_mode = \"0666\", or socket_group to a group of that user, in stsmapd.toml, and let that " +
			"user through " +
			"the directories above (chmod o+x)"
	case answer.Kind == Nobody:
		f.ID = "nobody-answers"
		f.Problem = fmt.Sprintf("nobody answers at %s: all mail waits (%s)", endpoint, answer.Detail)
		f.Cure = "start stsmapd, or name the address that it listens on"
	case answer.Kind == NoSocketmap:
		f.ID = "wrong-listener"
		f.Problem = fmt.Sprintf("what answers at %s is no socketmap server: all mail waits (%s)", endpoint,
			answer.Detail)
		f.Cure = "name the address that stsmapd listens on"
	case answer.Kind == Forbidden:
		f.ID, f.Severity, f.Fixes = "not-checked", Note, nil
		f.Problem = fmt.Sprintf(
			"you may not connect to %s, so that nobody knows who answers Postfix there (%s); run this as root",
			endpoint, answer.Detail)
	case v.unapproved(t):
		f.ID, f.Fixes = "proxy-unapproved", nil
		f.Problem = fmt.Sprintf(
			"proxymap(8) asks no table that proxy_read_maps does not list, and %s is not in it: the SMTP client "+
				"dies, and all mail waits", t.text)
		f.Cure = "add it to proxy_read_maps, or leave proxy: out"
	default:
		d.hostName(v, t)
		return
	}
	d.add(v, f)
}

// unapproved reports whether proxymap(8) may not ask a table. Those of main.cf's smtp_tls_policy_maps are in
// proxy_read_maps unless that is changed.
func (v view) unapproved(t table) bool {
	return t.proxied && v.knows("proxy_read_maps") && !slices.Contains(splitTables(v.value("proxy_read_maps")), t.text)
}

func exists(s Socket) bool { return s.Kind == SocketOpen || s.Kind == SocketClosed }

// hostName judges a server's name that is to be looked up in a chroot.
func (d *diagnosis) hostName(v view, t table) {
	hosts, ok := v.hostsFile(t)
	if !ok || d.facts.Files[hosts] != FileMissing {
		return
	}
	d.add(v, Finding{
		ID: "name-in-chroot", Severity: Warning,
		Problem: fmt.Sprintf("%s names a host, and the chroot has no %s to find its address in: where the DNS does "+
			"not know it, "+
			"all mail waits", t.server, hosts),
		Cure: "write the address, such as " + usual,
	})
}

// inexact is what Postfix does with a policy whose patterns it does not have, or does not use.
const inexact = "a host is connected to whether or not the policy names it, and any name of the policy will do in " +
	"its certificate"

// name judges the map name, the list of features.
func (d *diagnosis) name(s scope, t table, fixes []Fix) {
	v := s.views[0]
	chosen := t.claimed()
	right := s.features(chosen)
	say := func(id string, severity Severity, problem, cure string) {
		d.about(s, Finding{ID: id, Severity: severity, Problem: problem, Cure: cure, Fixes: fixes})
	}
	_, err := tlspolicy.ParseMapName(t.name)
	for _, w := range s.views {
		a := d.facts.Answers[Call{w.endpoint(t), t.name}]
		if a.Kind == UnknownMap || err != nil && a.Kind != Stsmapd {
			cure := "use the name " + mapName(right)
			if err == nil {
				cure = fmt.Sprintf("update the stsmapd that runs there, which says: %s", a.Detail)
			}
			say("unknown-map-name", Error, fmt.Sprintf("stsmapd does not know the map name %s: all mail waits", t.name),
				cure)
			return
		}
	}
	postfix := "Postfix " + v.value("mail_version")
	if chosen.TLSRPT && !right.TLSRPT {
		say("unknown-attributes", Error,
			fmt.Sprintf("the map %s makes stsmapd send policy attributes, which %s does not know (3.10 does): "+
				"all mail for domains with a policy waits", t.name, postfix), "leave tlsrpt out of the map name")
	}
	if !chosen.NoSNI && right.NoSNI {
		say("unknown-attributes", Error,
			fmt.Sprintf("the map %s makes stsmapd send servername=, which %s does not know (3.4 does): "+
				"all mail for domains with a policy waits", t.name, postfix), "add +nosni to the map name")
	}
	if chosen.NoSNI && !right.NoSNI {
		say("nosni-needless", Warning,
			fmt.Sprintf("%s can send SNI, and the map %s forbids it: hosts that choose their certificate "+
				"by it cannot be verified", postfix, t.name), "leave nosni out of the map name")
	}
	if !chosen.TLSRPT && right.TLSRPT {
		effect := "reports to other domains (TLSRPT) would not tell of their policies"
		if v.knows(mxPatterns) {
			effect = inexact
		}
		say("no-tlsrpt", Warning,
			fmt.Sprintf("%s can take the policy itself, and the map %s does not make stsmapd send it: %s",
				postfix, t.name, effect), "add +tlsrpt to the map name")
	}
	d.nameDANE(s, t, say)
	if chosen.Shadow {
		say("shadow", Note, "the map name says shadow: no policy is enforced, stsmapd only logs what it would have "+
			"answered", "")
	}
}

// nameDANE judges the feature dane of the map name.
func (d *diagnosis) nameDANE(s scope, t table, say func(id string, severity Severity, problem, cure string)) {
	v := s.views[0]
	told, right := t.claimed().DANE, s.features(t.claimed()).DANE
	level, _ := v.level()
	switch {
	case right && !told && isDANE(level):
		say("dane-not-told", Error,
			fmt.Sprintf("Postfix does DANE (%s = %s) and the map %s does not say so: for domains with both, "+
				"the MTA-STS policy takes DANE's place, which RFC 8461 forbids", securityLevel, level, t.name),
			"add +dane to the map name")
	case told && !right:
		say("dane-not-done", Error,
			fmt.Sprintf("the map %s says that Postfix does DANE, but it cannot (%s): mail for domains with TLSA "+
				"records and a policy waits", t.name, strings.Join(v.daneLacks(), ", ")),
			fmt.Sprintf("leave dane out of the map name; or set %s = dane and %s = dnssec, with a validating "+
				"resolver on this host",
				securityLevel, dnsSupport))
	}
}
