package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// mapsRules judges one value of smtp_tls_policy_maps.
type mapsRules struct {
	*diagnosis
	scope
}

// judge applies every rule of the value.
func (j mapsRules) judge() {
	mine := j.first(roleStsmapd)
	if mine < 0 && !j.principal() {
		if j.owner != "" {
			j.addToAll(Finding{
				ID: "side-service", Severity: Note,
				Problem: "a service with its own " + policyMaps +
					" does not query stsmapd: right for a content filter, wrong for mail to the internet",
			})
		}
		return
	}
	fixes := j.mapsFix()
	for i, t := range j.tables {
		j.judgeOther(i, t, fixes)
	}
	if mine < 0 {
		j.judgeMissing(fixes)
		return
	}
	for _, v := range j.views {
		j.judgeConnection(v, j.tables[mine], fixes)
	}
	j.judgeMapName(j.tables[mine], fixes)
	j.judgePredecessor(j.tables[mine], fixes)
}

// addToAll adds a finding about each service of the scope.
func (j mapsRules) addToAll(f Finding) {
	if f.about == "" {
		f.about = policyMaps
	}
	for _, v := range j.views {
		j.add(v, f)
	}
}

// mapsFix returns the fix of smtp_tls_policy_maps, nil if its value is right. It records why the fix must not be made
// now.
func (j mapsRules) mapsFix() []Fix {
	value, t := j.rightMaps()
	if value == j.value {
		return nil
	}
	for _, v := range j.views {
		if v.to(t).answer().Kind == NotQueried {
			t.name = "sts" // the map name of the survey's query
		}
		if v.to(t).unreachable() {
			why := fmt.Sprintf("no stsmapd answers at %s, and all mail would be deferred: let it listen there "+
				"(`listen` in stsmapd.toml), and start it", v.to(t).endpoint())
			j.blocked = include(j.blocked, why)
		}
	}
	return []Fix{{j.owner, policyMaps, value}}
}

// judgeMissing judges a value without a table of stsmapd.
func (j mapsRules) judgeMissing(fixes []Fix) {
	j.missing = true
	f := Finding{ID: "no-map", Severity: Error, Fixes: fixes, Cure: "name stsmapd in " + policyMaps}
	switch {
	case j.first(roleMalformed) >= 0:
		return // judgeOther has a finding
	case j.first(roleWrapped) >= 0:
		f.ID = "map-wrapped"
		f.Problem = fmt.Sprintf(
			"%s queries stsmapd inside another table, whose results cannot be checked",
			j.tables[j.first(roleWrapped)].text)
		f.Cure = "name stsmapd as a separate table: " + j.tableText(lookupTable{})
	case j.owner != "":
		f.ID = "map-overridden"
		f.Problem = "master.cf overrides " + policyMaps +
			" without naming stsmapd: this service enforces no MTA-STS policy, whatever main.cf says"
		f.Cure = "name stsmapd there, or remove the override"
	default:
		f.Problem = policyMaps + " does not name stsmapd: no MTA-STS policy is enforced"
	}
	if !j.editable {
		f.Cure = fmt.Sprintf("%s is composed of other parameters, or a brace is open; add by hand: %s", policyMaps,
			j.tableText(lookupTable{}))
	}
	j.addToAll(f)
}

// judgeOther judges the i-th table, unless it is the first that queries stsmapd.
func (j mapsRules) judgeOther(i int, t lookupTable, fixes []Fix) {
	mine := j.first(roleStsmapd)
	if i != mine && j.views[0].to(t).unapproved() {
		j.addToAll(unapprovedFinding(t))
	}
	switch t.role {
	case roleStsmapd:
		if i != mine {
			j.addToAll(Finding{
				ID: "two-maps", Severity: Warning, Fixes: fixes,
				Problem: fmt.Sprintf("stsmapd is queried twice, the second time as %s: this has no use, and doubles "+
					"the waiting time", t.text),
				Cure: "leave the first one only",
			})
		}
	case roleMalformed:
		j.addToAll(Finding{
			ID: "map-malformed", Severity: Error, Fixes: fixes,
			Problem: t.text + " is not a valid table: all mail is deferred",
			Cure:    "write it as " + j.tableText(lookupTable{}),
		})
	case roleRival:
		j.judgeRival(t, mine >= 0 && mine < i, fixes)
	case roleCatchAll:
		if i < mine {
			j.addToAll(Finding{
				ID: "map-hidden", Severity: Error, Fixes: fixes,
				Problem: t.text + " matches every domain and comes before stsmapd, which is never queried",
				Cure:    "move stsmapd before it",
			})
		}
	case roleWord, roleBroken:
		j.judgeUnusable(t, fixes)
	case roleOther:
		if i < mine {
			j.addToAll(Finding{
				ID: "table-before", Severity: Note,
				Problem: t.text + " comes before stsmapd: stsmapd is not queried for the domains in it",
			})
		}
	}
}

// judgeUnusable judges a table that fails, or what is no table.
func (j mapsRules) judgeUnusable(t lookupTable, fixes []Fix) {
	if t.role == roleWord {
		j.addToAll(Finding{
			ID: "map-word", Severity: Error, Fixes: fixes,
			Problem: fmt.Sprintf("%s has the word %q, which is no table (a # behind a value begins no comment): "+
				"the SMTP "+
				"client ends when it starts, and all mail is deferred", policyMaps, t.text),
			Cure: "write each table as type:name, and a comment on a line of its own",
		})
		return
	}
	detail := j.facts.Tables[Lookup{t.text, probeDomain}].Detail
	switch {
	case detail == "" && t.server != "":
		detail = "no server answers there"
	case detail == "":
		detail = "not of the form socketmap:inet:host:port:name or socketmap:unix:/path:name"
	}
	j.addToAll(Finding{
		ID: "table-broken", Severity: Error,
		Problem: fmt.Sprintf("the table %s fails, and every lookup that reaches it fails too: mail is deferred (%s)",
			t.text, detail),
		Cure: "repair it (postmap makes a hash or lmdb table), or remove it from " + policyMaps,
	})
}

// judgeRival judges a table that queries another daemon.
func (j mapsRules) judgeRival(t lookupTable, after bool, fixes []Fix) {
	f := Finding{
		ID: "other-daemon", Severity: Warning, Fixes: fixes,
		Problem: t.text + " queries another daemon for MTA-STS policies",
		Cure: "remove it once stsmapd answers; or let stsmapd listen there instead of the other daemon, and " +
			"change nothing",
	}
	dead := slices.ContainsFunc(j.views, func(v view) bool {
		return v.to(t).unreachable() && v.to(t).answer().Kind != OtherMap
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
	j.addToAll(f)
}

// judgeConnection judges how a service connects to stsmapd.
func (j mapsRules) judgeConnection(v view, t lookupTable, fixes []Fix) {
	a := v.to(t)
	endpoint, answer := a.endpoint(), a.answer()
	f := Finding{Severity: Error, Fixes: fixes}
	way, unix := a.socketPath()
	socket := j.facts.Sockets[way]
	outside, hidden := a.hostSocketPath()
	switch {
	case unix && socket.Kind == SocketMissing && hidden && socketExists(j.facts.Sockets[outside]):
		f.ID = "socket-outside-chroot"
		f.Problem = fmt.Sprintf(
			"the chroot hides the socket: it is at %s, but Postfix looks for it at %s: all mail is deferred",
			outside.Path, way.Path)
		f.Cure = fmt.Sprintf("let stsmapd listen on inet:127.0.0.1:8461 or on unix:%s (`listen` in stsmapd.toml), "+
			"and name that", way.Path)
		if inside, ok := v.inChroot(outside.Path); ok {
			f.Problem = fmt.Sprintf("the path of a socket is within the chroot, and %s has the chroot's own path "+
				"in front: "+
				"Postfix looks for %s: all mail is deferred", outside.Path, way.Path)
			f.Cure = fmt.Sprintf("name it unix:%s", inside)
		}
	case unix && (socket.Kind == SocketMissing || socket.Kind == SocketOther):
		f.ID = "nobody-answers"
		f.Problem = fmt.Sprintf("there is no socket at %s: all mail is deferred", way.Path)
		f.Cure = "start stsmapd, or name the address that it listens on"
	case unix && socket.Kind == SocketClosed && !a.client().Root:
		f.ID = "socket-permission"
		f.Problem = fmt.Sprintf(
			"Postfix's user %q has no permission to connect to %s, because of %s: all mail is deferred",
			j.facts.Parameters["mail_owner"], way.Path, socket.At)
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
	case a.unapproved():
		f = unapprovedFinding(t)
		f.about = policyMaps
	default:
		j.judgeHostName(v, t)
		return
	}
	j.add(v, f)
}

// unapprovedFinding is about a table that proxymap(8) refuses.
func unapprovedFinding(t lookupTable) Finding {
	return Finding{
		ID: "proxy-unapproved", Severity: Error, Cure: "add it to proxy_read_maps, or omit proxy:",
		Problem: fmt.Sprintf("proxymap(8) only queries the tables of proxy_read_maps, and %s is not in it: all mail "+
			"is deferred", t.text),
	}
}

func socketExists(s Socket) bool { return s.Kind == SocketOpen || s.Kind == SocketClosed }

// judgeHostName judges a server's name that is looked up in a chroot.
func (j mapsRules) judgeHostName(v view, t lookupTable) {
	hosts, ok := v.to(t).hostsFile()
	if !ok || j.facts.Files[hosts] != FileMissing {
		return
	}
	j.add(v, Finding{
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
func (j mapsRules) judgeMapName(t lookupTable, fixes []Fix) {
	v := j.views[0]
	chosen := t.claimed()
	right := j.features(chosen)
	say := func(id string, severity Severity, problem, cure string) {
		j.addToAll(Finding{ID: id, Severity: severity, Problem: problem, Cure: cure, Fixes: fixes})
	}
	_, err := t.names.Parse(t.name)
	for _, w := range j.views {
		a := w.to(t).answer()
		if a.Kind == UnknownMap || err != nil && a.Kind != Stsmapd {
			cure := "use the name " + mapName(right)
			if err == nil {
				cure = fmt.Sprintf("reload that stsmapd if the name is in [maps] of its configuration, or update it; "+
					"it says: %s", a.Detail)
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
	j.judgeMapNameDANE(t, say)
	if chosen.Shadow {
		say("shadow", Note, "the map name has shadow: no policy is enforced, stsmapd only logs what it would have "+
			"answered", "")
	}
}

// judgeMapNameDANE judges the feature dane of the map name.
func (j mapsRules) judgeMapNameDANE(t lookupTable,
	say func(id string, severity Severity, problem, cure string)) {
	v := j.views[0]
	claimed, right := t.claimed().DANE, j.features(t.claimed()).DANE
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
