package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// judgeMaps judges one value of smtp_tls_policy_maps.
func (d *diagnosis) judgeMaps(s scope) {
	mine := s.first(roleStsmapd)
	if mine < 0 && !s.principal() {
		if s.owner != "" {
			d.addForScope(s, Finding{
				ID: "side-service", Severity: Note,
				Problem: "a service with its own " + policyMaps +
					" does not query stsmapd: right for a content filter, wrong for mail to the internet",
			})
		}
		return
	}
	fixes := d.mapsFix(s)
	for i, t := range s.tables {
		d.judgeOther(s, i, t, fixes)
	}
	if mine < 0 {
		d.judgeMissing(s, fixes)
		return
	}
	for _, v := range s.views {
		d.judgeConnection(v, s.tables[mine], fixes)
	}
	d.judgeMapName(s, s.tables[mine], fixes)
}

// addForScope adds a finding about all services of the scope.
func (d *diagnosis) addForScope(s scope, f Finding) {
	for _, v := range s.views {
		d.add(v, f)
	}
}

// mapsFix returns the fix of smtp_tls_policy_maps, nil if its value is right. It records why the fix must not be made
// now.
func (d *diagnosis) mapsFix(s scope) []Fix {
	value, t := s.rightMaps()
	if value == s.value {
		return nil
	}
	for _, v := range s.views {
		if d.facts.Answers[Query{v.endpoint(t), t.name}].Kind == NotQueried {
			t.name = "sts" // the map name of the survey's query
		}
		if v.unreachable(t) {
			why := fmt.Sprintf("no stsmapd answers at %s, and all mail would be deferred: let it listen there "+
				"(`listen` in stsmapd.toml), and start it", v.endpoint(t))
			d.blocked = include(d.blocked, why)
		}
	}
	return []Fix{{s.owner, policyMaps, value}}
}

// judgeMissing judges a value without a table of stsmapd.
func (d *diagnosis) judgeMissing(s scope, fixes []Fix) {
	d.missing = true
	f := Finding{ID: "no-map", Severity: Error, Fixes: fixes, Cure: "name stsmapd in " + policyMaps}
	switch {
	case s.first(roleMalformed) >= 0:
		return // judgeOther has a finding
	case s.first(roleWrapped) >= 0:
		f.ID = "map-wrapped"
		f.Problem = fmt.Sprintf(
			"%s queries stsmapd inside another table, whose results cannot be checked",
			s.tables[s.first(roleWrapped)].text)
		f.Cure = "name stsmapd as a separate table: " + s.tableText(lookupTable{})
	case s.owner != "":
		f.ID = "map-overridden"
		f.Problem = "master.cf overrides " + policyMaps +
			" without naming stsmapd: this service enforces no MTA-STS policy, whatever main.cf says"
		f.Cure = "name stsmapd there, or remove the override"
	default:
		f.Problem = policyMaps + " does not name stsmapd: no MTA-STS policy is enforced"
	}
	if !s.editable {
		f.Cure = fmt.Sprintf("%s is composed of other parameters; add by hand: %s", policyMaps,
			s.tableText(lookupTable{}))
	}
	d.addForScope(s, f)
}

// judgeOther judges the i-th table, unless it is the first that queries stsmapd.
func (d *diagnosis) judgeOther(s scope, i int, t lookupTable, fixes []Fix) {
	mine := s.first(roleStsmapd)
	switch t.role {
	case roleStsmapd:
		if i != mine {
			d.addForScope(s, Finding{
				ID: "two-maps", Severity: Warning, Fixes: fixes,
				Problem: fmt.Sprintf("stsmapd is queried twice, the second time as %s: this has no use, and doubles "+
					"the waiting time", t.text),
				Cure: "leave the first one only",
			})
		}
	case roleMalformed:
		d.addForScope(s, Finding{
			ID: "map-malformed", Severity: Error, Fixes: fixes,
			Problem: t.text + " is not a valid table: all mail is deferred",
			Cure:    "write it as " + s.tableText(lookupTable{}),
		})
	case roleRival:
		d.judgeRival(s, t, mine >= 0 && mine < i, fixes)
	case roleCatchAll:
		if i < mine {
			d.addForScope(s, Finding{
				ID: "map-hidden", Severity: Error, Fixes: fixes,
				Problem: t.text + " matches every domain and comes before stsmapd, which is never queried",
				Cure:    "move stsmapd before it",
			})
		}
	case roleBroken:
		detail := d.facts.Tables[t.text].Detail
		if detail == "" {
			detail = "not of the form socketmap:inet:host:port:name or socketmap:unix:/path:name"
		}
		d.addForScope(s, Finding{
			ID: "table-broken", Severity: Error,
			Problem: fmt.Sprintf(
				"the table %s fails, and every lookup that reaches it fails too: mail is deferred (%s)",
				t.text, detail),
			Cure: "repair it (postmap makes a hash or lmdb table), or remove it from " + policyMaps,
		})
	case roleOther:
		if i < mine {
			d.addForScope(s, Finding{
				ID: "table-before", Severity: Note,
				Problem: t.text + " comes before stsmapd: stsmapd is not queried for the domains in it",
			})
		}
	}
}

// judgeRival judges a table that queries another daemon.
func (d *diagnosis) judgeRival(s scope, t lookupTable, after bool, fixes []Fix) {
	f := Finding{
		ID: "other-daemon", Severity: Warning, Fixes: fixes,
		Problem: t.text + " queries another daemon for MTA-STS policies",
		Cure: "remove it once stsmapd answers; or let stsmapd listen there instead of the other daemon, and " +
			"change nothing",
	}
	dead := slices.ContainsFunc(s.views, func(v view) bool {
		return v.unreachable(t) && d.facts.Answers[Query{v.endpoint(t), t.name}].Kind != OtherMap
	})
	switch {
	case dead:
		f.Severity = Error
		f.Problem += ", and no server answers there: mail is deferred"
	case after:
		f.Problem += ", after stsmapd found none"
	default:
		f.Problem += ", whose answers take precedence"
	}
	d.addForScope(s, f)
}

// judgeConnection judges how a service connects to stsmapd.
func (d *diagnosis) judgeConnection(v view, t lookupTable, fixes []Fix) {
	endpoint := v.endpoint(t)
	answer := d.facts.Answers[Query{endpoint, t.name}]
	f := Finding{Severity: Error, Fixes: fixes}
	way, unix := v.socketPath(t)
	socket := d.facts.Sockets[way]
	outside, hidden := v.hostSocketPath(t)
	switch {
	case unix && socket.Kind == SocketMissing && hidden && socketExists(d.facts.Sockets[outside]):
		f.ID = "socket-outside-chroot"
		f.Problem = fmt.Sprintf(
			"the chroot hides the socket: it is at %s, but Postfix looks for it at %s: all mail is deferred",
			outside.Path, way.Path)
		f.Cure = fmt.Sprintf("let stsmapd listen on inet:127.0.0.1:8461 or on unix:%s (`listen` in stsmapd.toml), "+
			"and name that", way.Path)
	case unix && (socket.Kind == SocketMissing || socket.Kind == SocketOther):
		f.ID = "nobody-answers"
		f.Problem = fmt.Sprintf("there is no socket at %s: all mail is deferred", way.Path)
		f.Cure = "start stsmapd, or name the address that it listens on"
	case unix && socket.Kind == SocketClosed && !v.client(t).Root:
		f.ID = "socket-permission"
		f.Problem = fmt.Sprintf(
			"Postfix's user %q has no permission to connect to %s, because of %s: all mail is deferred",
			d.facts.Parameters["mail_owner"], way.Path, socket.At)
		f.Cure = "set socket_mode = \"0666\", or socket_group to a group of that user, in stsmapd.toml, and let that " +
			"user search the directories above (chmod o+x)"
	case answer.Kind == NoConnection:
		f.ID = "nobody-answers"
		f.Problem = fmt.Sprintf("no server answers at %s: all mail is deferred (%s)", endpoint, answer.Detail)
		f.Cure = "start stsmapd, or name the address that it listens on"
	case answer.Kind == NoSocketmap:
		f.ID = "wrong-listener"
		f.Problem = fmt.Sprintf("the server at %s is not a socketmap server: all mail is deferred (%s)", endpoint,
			answer.Detail)
		f.Cure = "name the address that stsmapd listens on"
	case answer.Kind == Forbidden:
		f.ID, f.Severity, f.Fixes = "not-checked", Note, nil
		f.Problem = fmt.Sprintf(
			"not checked: you have no permission to connect to %s (%s); run this as root",
			endpoint, answer.Detail)
	case v.unapproved(t):
		f.ID, f.Fixes = "proxy-unapproved", nil
		f.Problem = fmt.Sprintf(
			"proxymap(8) only queries the tables of proxy_read_maps, and %s is not in it: the SMTP client "+
				"terminates, and all mail is deferred", t.text)
		f.Cure = "add it to proxy_read_maps, or omit proxy:"
	default:
		d.judgeHostName(v, t)
		return
	}
	d.add(v, f)
}

// unapproved reports whether proxymap(8) refuses to query a table. By default, proxy_read_maps contains the tables of
// main.cf's smtp_tls_policy_maps.
func (v view) unapproved(t lookupTable) bool {
	return t.proxied && v.knows("proxy_read_maps") &&
		!slices.Contains(splitLookupTables(v.value("proxy_read_maps")), t.text)
}

func socketExists(s Socket) bool { return s.Kind == SocketOpen || s.Kind == SocketClosed }

// judgeHostName judges a server's name that is looked up in a chroot.
func (d *diagnosis) judgeHostName(v view, t lookupTable) {
	hosts, ok := v.hostsFile(t)
	if !ok || d.facts.Files[hosts] != FileMissing {
		return
	}
	d.add(v, Finding{
		ID: "name-in-chroot", Severity: Warning,
		Problem: fmt.Sprintf("%s names a host, and the chroot has no %s with its address: if the DNS does not have "+
			"it either, all mail is deferred", t.server, hosts),
		Cure: "use the address, such as " + defaultServer,
	})
}

// inexactMatching is what Postfix does without the patterns of a policy.
const inexactMatching = "Postfix connects to hosts that the policy does not name, and accepts any name of the policy " +
	"in their certificates"

// judgeMapName judges the map name, the list of features.
func (d *diagnosis) judgeMapName(s scope, t lookupTable, fixes []Fix) {
	v := s.views[0]
	chosen := t.claimed()
	right := s.features(chosen)
	say := func(id string, severity Severity, problem, cure string) {
		d.addForScope(s, Finding{ID: id, Severity: severity, Problem: problem, Cure: cure, Fixes: fixes})
	}
	_, err := tlspolicy.ParseMapName(t.name)
	for _, w := range s.views {
		a := d.facts.Answers[Query{w.endpoint(t), t.name}]
		if a.Kind == UnknownMap || err != nil && a.Kind != Stsmapd {
			cure := "use the name " + mapName(right)
			if err == nil {
				cure = fmt.Sprintf("update that stsmapd, which says: %s", a.Detail)
			}
			say("unknown-map-name", Error,
				fmt.Sprintf("stsmapd does not know the map name %s: all mail is deferred", t.name),
				cure)
			return
		}
	}
	postfix := "Postfix " + v.value("mail_version")
	if chosen.TLSRPT && !right.TLSRPT {
		say("unknown-attributes", Error,
			fmt.Sprintf("the map %s makes stsmapd send policy attributes, which %s does not know (3.10 does): "+
				"all mail to domains with a policy is deferred", t.name, postfix), "remove tlsrpt from the map name")
	}
	if !chosen.NoSNI && right.NoSNI {
		say("unknown-attributes", Error,
			fmt.Sprintf("the map %s makes stsmapd send servername=, which %s does not know (3.4 does): "+
				"all mail to domains with a policy is deferred", t.name, postfix), "add +nosni to the map name")
	}
	if chosen.NoSNI && !right.NoSNI {
		say("nosni-needless", Warning,
			fmt.Sprintf("%s can send SNI, and the map %s forbids it: hosts that choose their certificate by SNI "+
				"cannot be verified", postfix, t.name), "remove nosni from the map name")
	}
	if !chosen.TLSRPT && right.TLSRPT {
		effect := "TLSRPT reports would not contain the policies"
		if v.knows(mxPatterns) {
			effect = inexactMatching
		}
		say("no-tlsrpt", Warning,
			fmt.Sprintf("%s supports policy attributes, and the map %s does not make stsmapd send them: %s",
				postfix, t.name, effect), "add +tlsrpt to the map name")
	}
	d.judgeMapNameDANE(s, t, say)
	if chosen.Shadow {
		say("shadow", Note, "the map name has shadow: no policy is enforced, stsmapd only logs what it would have "+
			"answered", "")
	}
}

// judgeMapNameDANE judges the feature dane of the map name.
func (d *diagnosis) judgeMapNameDANE(s scope, t lookupTable,
	say func(id string, severity Severity, problem, cure string)) {
	v := s.views[0]
	claimed, right := t.claimed().DANE, s.features(t.claimed()).DANE
	level, _ := v.level()
	switch {
	case right && !claimed && isDANE(level):
		say("dane-not-told", Error,
			fmt.Sprintf("Postfix does DANE (%s = %s), but the map %s lacks +dane: for domains with both, the MTA-STS "+
				"policy overrides DANE, which RFC 8461 forbids", securityLevel, level, t.name),
			"add +dane to the map name")
	case claimed && !right:
		say("dane-not-done", Error,
			fmt.Sprintf("the map %s says that Postfix does DANE, but it cannot (%s): mail to domains with TLSA "+
				"records and a policy is deferred", t.name, strings.Join(v.daneLacks(), ", ")),
			fmt.Sprintf("remove dane from the map name; or set %s = dane and %s = dnssec, with a validating "+
				"resolver on this host",
				securityLevel, dnsSupport))
	}
}
