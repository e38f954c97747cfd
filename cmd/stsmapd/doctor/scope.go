package doctor

import (
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// scope is one value of smtp_tls_policy_maps with the services that use it: that of main.cf, or the override of one
// service.
type scope struct {
	owner    string // as in Fix.Service
	value    string // as written
	views    []view // principal ones first
	tables   []lookupTable
	editable bool // each table has its own text in the value as written, and no brace is open
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

// read parses the value.
func (s *scope) read(f *Facts) {
	expanded := s.views[0].value(policyMaps)
	s.value = expanded
	if s.owner == "" {
		s.value = f.Written[policyMaps]
	}
	written := splitLookupTables(s.value)
	for _, text := range splitLookupTables(expanded) {
		s.tables = append(s.tables, parseLookupTable(text).classify(f, s.views))
	}
	closed := strings.Count(s.value, "{") == strings.Count(s.value, "}")
	if s.editable = closed && len(written) == len(s.tables); s.editable {
		for i := range written {
			s.tables[i].written = written[i]
		}
	}
}

func (s scope) principal() bool { return s.views[0].principal }

// first returns the index of the first table of this role, -1 if there is none.
func (s scope) first(role tableRole) int {
	return slices.IndexFunc(s.tables, func(t lookupTable) bool { return t.role == role })
}

// features returns the right features for a table of stsmapd, given those that the administrator chose.
func (s scope) features(chosen tlspolicy.Features) tlspolicy.Features {
	v := s.views[0]
	chosen.NoSNI = !v.facts.version().atLeast(3, 4, 0)
	chosen.TLSRPT = v.facts.version().atLeast(3, 10, 0)
	level := v.wantedLevel()
	chosen.DANE = isDANE(level) || chosen.DANE && v.daneReady() && level != "may" && level != "none"
	return chosen
}

// wanted returns the right features for a table of stsmapd.
func (s scope) wanted(t lookupTable) tlspolicy.Features {
	right := s.features(t.claimed())
	right.Strict = right.Strict || s.strictLost(t)
	return right
}

// tableText returns the table that should replace t.
func (s scope) tableText(t lookupTable) string {
	server, prefix := t.server, "socketmap:"
	if t.proxied {
		prefix = "proxy:socketmap:"
	}
	if t.server == "" || !s.reachable(t) {
		if name, ok := unixPath(t.server); ok && s.socketInside(t) {
			inside, _ := s.views[0].inChroot(name)
			server = "unix:" + inside
		} else if best, sure := s.bestServer(); sure || t.server == "" {
			server, prefix = best, "socketmap:"
		}
	}
	chosen := t.claimed()
	right := s.wanted(t)
	name := mapName(right)
	if _, err := t.names.Parse(t.name); err == nil && chosen == right {
		name = t.name
	}
	return prefix + server + ":" + name
}

// reachable reports whether no service of the scope is known to fail to reach stsmapd by the table.
func (s scope) reachable(t lookupTable) bool {
	return !slices.ContainsFunc(s.views, func(v view) bool { return v.to(t).unreachable() })
}

// socketInside reports whether the table's socket exists, and its path only has the chroot's path in front by mistake.
func (s scope) socketInside(t lookupTable) bool {
	return !slices.ContainsFunc(s.views, func(v view) bool {
		a := v.to(t)
		outside, hidden := a.hostSocketPath()
		_, inside := v.inChroot(outside.Path)
		return !hidden || !inside || !socketExists(v.facts.Sockets[outside])
	})
}

// bestServer returns the server that a table of stsmapd should name, and whether stsmapd answers there.
func (s scope) bestServer() (server string, sure bool) {
	for _, listener := range candidates(s.views[0].facts) {
		written, ok := serverForAll(s.views, listener)
		if !ok {
			continue
		}
		answers := !slices.ContainsFunc(s.views, func(v view) bool {
			t := lookupTable{server: written, name: "sts"}
			return v.to(t).unreachable() || v.to(t).answer().Kind != Stsmapd
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

// defaultServer is the default listener of stsmapd, which every service can reach.
const defaultServer = "inet:127.0.0.1:8461"

// candidates returns the possible listeners of stsmapd, the most likely first.
func candidates(f *Facts) []string { return include(slices.Clone(f.Listeners), defaultServer) }

// rightMaps returns the right value of smtp_tls_policy_maps, and its table of stsmapd. It returns the present value if
// that is right or cannot be edited.
func (s scope) rightMaps() (value string, added lookupTable) {
	if !s.editable || s.first(roleStsmapd) < 0 && s.first(roleWrapped) >= 0 {
		return s.value, lookupTable{}
	}
	var list []string
	mine, place, catch := "", -1, -1
	comment := false
	for _, t := range s.tables {
		if comment {
			break
		}
		switch t.role {
		case roleStsmapd, roleMalformed:
			if mine == "" && (t.role == roleStsmapd || s.first(roleStsmapd) < 0) {
				mine, place = s.tableText(t), len(list)
				if t.role == roleStsmapd && mine == t.text {
					mine = t.written
				}
			}
			continue
		case roleRival:
			if place < 0 && s.first(roleStsmapd) < 0 {
				place = len(list)
			}
			continue
		case roleWord:
			if strings.HasPrefix(t.text, "#") {
				comment = true
			}
			continue
		case roleCatchAll:
			if catch < 0 {
				catch = len(list)
			}
		}
		list = append(list, t.written)
	}
	if mine == "" {
		mine = s.tableText(lookupTable{})
	}
	if place < 0 {
		place = len(list)
	}
	if catch >= 0 && catch < place {
		place = catch
	}
	list = slices.Insert(list, place, mine)
	if slices.Equal(list, splitLookupTables(s.value)) {
		return s.value, lookupTable{}
	}
	return strings.Join(list, ", "), parseLookupTable(mine)
}
