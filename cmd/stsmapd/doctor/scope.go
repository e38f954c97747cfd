package doctor

import (
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// scope is one value of smtp_tls_policy_maps: that of main.cf with the services that use it, or that of one service
// which overrides it.
type scope struct {
	owner    string // as in Fix.Service
	value    string // as written
	views    []view // the principal ones first
	tables   []table
	editable bool // each table can be told from the others in the value as written
}

// scopesOf returns every value of smtp_tls_policy_maps that a service uses.
func scopesOf(f *Facts, views []view) []scope {
	var scopes []scope
	for _, v := range views {
		owner := v.owner(policyMaps)
		i := slices.IndexFunc(scopes, func(s scope) bool { return s.owner == owner })
		if i < 0 {
			scopes = append(scopes, scope{owner: owner})
			i = len(scopes) - 1
		}
		scopes[i].views = append(scopes[i].views, v)
	}
	for i := range scopes {
		scopes[i].read(f)
	}
	return scopes
}

// read takes the value apart.
func (s *scope) read(f *Facts) {
	expanded := s.views[0].value(policyMaps)
	s.value = expanded
	if s.owner == "" {
		s.value = f.Written[policyMaps]
	}
	written := splitTables(s.value)
	for _, text := range splitTables(expanded) {
		s.tables = append(s.tables, parseTable(text).classify(f, s.views))
	}
	if s.editable = len(written) == len(s.tables); s.editable {
		for i := range written {
			s.tables[i].written = written[i]
		}
	}
}

func (s scope) principal() bool { return s.views[0].principal }

// first is the index of the first table of this kind, -1 if there is none.
func (s scope) first(role tableRole) int {
	return slices.IndexFunc(s.tables, func(t table) bool { return t.kind == role })
}

// told is what the first table of ours says of this Postfix; nothing where there is none.
func (v view) told() tlspolicy.Features {
	for _, text := range splitTables(v.value(policyMaps)) {
		if t := parseTable(text).classify(v.facts, []view{v}); t.kind == ours {
			return t.claimed()
		}
	}
	return tlspolicy.Features{}
}

// claimed are the features that a map name lists, those among others that stsmapd does not know too.
func (t table) claimed() tlspolicy.Features {
	if f, err := tlspolicy.ParseMapName(t.name); err == nil {
		return f
	}
	var all tlspolicy.Features
	for word := range strings.SplitSeq(t.name, "+") {
		one, err := tlspolicy.ParseMapName("sts+" + strings.ToLower(word))
		if err != nil {
			continue
		}
		all.DANE = all.DANE || one.DANE
		all.TLSRPT = all.TLSRPT || one.TLSRPT
		all.Strict = all.Strict || one.Strict
		all.Defer = all.Defer || one.Defer
		all.NoSNI = all.NoSNI || one.NoSNI
		all.Shadow = all.Shadow || one.Shadow
	}
	return all
}

// features are those that a table of ours should have here, given those that its administrator chose.
func (s scope) features(chosen tlspolicy.Features) tlspolicy.Features {
	v := s.views[0]
	chosen.NoSNI = !v.version().atLeast(3, 4, 0)
	chosen.TLSRPT = v.version().atLeast(3, 10, 0)
	level := v.wantedLevel()
	chosen.DANE = isDANE(level) || chosen.DANE && v.daneReady() && level != "may" && level != "none"
	return chosen
}

// spell is the table that should take the place of t.
func (s scope) spell(t table) string {
	server, prefix := t.server, "socketmap:"
	if t.proxied {
		prefix = "proxy:socketmap:"
	}
	if t.server == "" || !s.served(t) {
		if best, sure := s.best(); sure || t.server == "" {
			server, prefix = best, "socketmap:"
		}
	}
	chosen := t.claimed()
	name := mapName(s.features(chosen))
	if alias(t.name) && chosen == s.features(chosen) {
		name = t.name
	}
	return prefix + server + ":" + name
}

// served reports whether every service of the scope has an answer from stsmapd there, or nobody could see that it has
// not.
func (s scope) served(t table) bool {
	return !slices.ContainsFunc(s.views, func(v view) bool { return v.trouble(t) })
}

// trouble reports whether a table is known not to reach stsmapd.
func (v view) trouble(t table) bool {
	endpoint := v.endpoint(t)
	if way, ok := v.way(t); ok {
		switch v.facts.Sockets[way].Kind {
		case SocketMissing, SocketOther:
			return true
		case SocketClosed:
			return !v.asker(t).Root
		}
	}
	switch v.facts.Answers[Call{endpoint, t.name}].Kind {
	case Nobody, NoSocketmap, OtherMap:
		return true
	}
	return false
}

// best is the server that a table of ours should name, and whether stsmapd was seen to answer there.
func (s scope) best() (server string, sure bool) {
	for _, listener := range candidates(s.views[0].facts) {
		written, ok := reachAll(s.views, listener)
		if !ok {
			continue
		}
		answers := !slices.ContainsFunc(s.views, func(v view) bool {
			t := table{server: written, name: "sts"}
			return v.trouble(t) || v.facts.Answers[Call{v.endpoint(t), t.name}].Kind != Stsmapd
		})
		if answers {
			return written, true
		}
		if server == "" {
			server = written
		}
	}
	return server, false
}

// usual is where stsmapd listens unless told otherwise; every service gets there.
const usual = "inet:127.0.0.1:8461"

// candidates are where stsmapd may be listening, the likeliest first.
func candidates(f *Facts) []string { return include(slices.Clone(f.Listeners), usual) }

// wanted is the value that smtp_tls_policy_maps should have, the present one where it need not or cannot be changed,
// and the table of ours in it.
func (s scope) wanted() (value string, added table) {
	if !s.editable || s.first(ours) < 0 && s.first(wrapped) >= 0 {
		return s.value, table{}
	}
	var list []string
	mine, place, catch := "", -1, -1
	for _, t := range s.tables {
		switch t.kind {
		case ours, malformed:
			if mine == "" && (t.kind == ours || s.first(ours) < 0) {
				mine, place = s.spell(t), len(list)
				if t.kind == ours && mine == t.text {
					mine = t.written
				}
			}
			continue
		case rival:
			if place < 0 && s.first(ours) < 0 {
				place = len(list)
			}
			continue
		case catchAll:
			if catch < 0 {
				catch = len(list)
			}
		}
		list = append(list, t.written)
	}
	if mine == "" {
		mine = s.spell(table{})
	}
	if place < 0 {
		place = len(list)
	}
	if catch >= 0 && catch < place {
		place = catch
	}
	list = slices.Insert(list, place, mine)
	if slices.Equal(list, splitTables(s.value)) {
		return s.value, table{}
	}
	return strings.Join(list, ", "), parseTable(mine)
}
