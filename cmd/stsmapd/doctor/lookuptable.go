package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// lookupTable is one of the lookup tables of smtp_tls_policy_maps.
type lookupTable struct {
	text    string // expanded
	written string // as in the configuration file
	class   string // Postfix's type of table, such as hash
	proxied bool   // through proxymap(8)
	server  string // of a socketmap: inet:host:port or unix:path; "" for other tables and malformed socketmaps
	name    string // of a socketmap: the map name

	role  tableRole
	names tlspolicy.MapNames // of stsmapd; set by classify
}

// tableRole is what a table does, as far as it matters to stsmapd.
type tableRole uint8

const (
	roleOther     tableRole = iota
	roleStsmapd             // queries stsmapd
	roleMalformed           // should query stsmapd, but is not valid
	roleWrapped             // queries stsmapd inside a pipemap or unionmap
	roleRival               // queries another daemon for MTA-STS policies
	roleCatchAll            // matches every domain
	roleBroken              // fails
	roleWord                // no table at all: smtp(8) terminates
)

// splitLookupTables splits a list of tables as Postfix does: at white space and commas, but not within braces.
func splitLookupTables(list string) []string {
	var tables []string
	depth, begin := 0, -1
	for i, c := range list + " " {
		switch {
		case strings.ContainsRune(" ,\t\r\n", c) && depth <= 0:
			if begin >= 0 {
				tables = append(tables, list[begin:i])
			}
			begin = -1
			continue
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
		if begin < 0 {
			begin = i
		}
	}
	if begin >= 0 { // an open brace
		tables = append(tables, list[begin:])
	}
	return tables
}

// parseLookupTable parses one table.
func parseLookupTable(text string) lookupTable {
	t := lookupTable{text: text, written: text}
	rest := text
	t.class, rest, _ = strings.Cut(rest, ":")
	if t.class == "proxy" {
		t.proxied = true
		t.class, rest, _ = strings.Cut(rest, ":")
	}
	if t.class != "socketmap" {
		return t
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && i+1 < len(rest) && validServer(rest[:i]) {
		t.server, t.name = rest[:i], rest[i+1:]
	}
	return t
}

// searchable reports whether a type of table is local: postmap searches it without the network.
func searchable(class string) bool {
	return slices.Contains([]string{
		"btree", "cdb", "cidr", "dbm", "fail", "hash", "inline", "lmdb", "pcre", "randmap", "regexp", "sdbm", "sqlite",
		"static", "texthash",
	}, class)
}

// database reports whether a type of table needs no other table: its text is never one that should query stsmapd.
func database(class string) bool {
	return searchable(class) || slices.Contains([]string{
		"environ", "internal", "ldap", "memcache", "mongodb", "mysql", "nis", "pgsql",
	}, class)
}

// alias reports whether a map name is one from the manuals of other daemons.
func alias(name string) bool {
	return name == "postfix" || strings.EqualFold(name, "QUERY") || strings.EqualFold(name, "QUERYwithTLSRPT")
}

// mapName returns the map name for features.
func mapName(f tlspolicy.Features) string {
	name := "sts"
	for _, feature := range []struct {
		on   bool
		word string
	}{{f.DANE, "+dane"}, {f.TLSRPT, "+tlsrpt"}, {f.Strict, "+strict"}, {f.Defer, "+defer"}, {f.NoSNI, "+nosni"},
		{f.Shadow, "+shadow"}} {
		if feature.on {
			name += feature.word
		}
	}
	return name
}

// claimed returns the features in a map name. Unknown features in it are skipped.
func (t lookupTable) claimed() tlspolicy.Features {
	if f, err := t.names.Parse(t.name); err == nil {
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

// classify sets the role of a table of these services.
func (t lookupTable) classify(f *Facts, views []view) lookupTable {
	t.names = f.MapNames
	_, err := t.names.Parse(t.name)
	known := err == nil
	mine := listens(f, t.server)
	for _, v := range views {
		switch f.Answers[Query{v.to(t).endpoint(), t.name}].Kind {
		case Stsmapd, UnknownMap:
			mine = true
		case OtherMap:
			t.role = roleOther
			if alias(t.name) || rivalPort(t.server) {
				t.role = roleRival
			}
			return t
		}
	}
	switch {
	case !strings.Contains(t.text, ":"):
		t.role = roleWord
	case t.server != "" && (mine || known && !alias(t.name)):
		t.role = roleStsmapd
	case t.server != "" && alias(t.name):
		t.role = roleRival
	case t.server == "" && !database(t.class) && meansStsmapd(f, t.text):
		t.role = roleMalformed
		_, t.name, _ = cutLast(t.text, ":")
		if t.class == "pipemap" || t.class == "unionmap" {
			t.role = roleWrapped
		}
	case t.server == "" && t.class == "socketmap":
		t.role = roleBroken
	case t.class == "static" || f.Tables[Lookup{t.text, probeDomain}].Kind == TableMatchesAll:
		t.role = roleCatchAll
	case f.Tables[Lookup{t.text, probeDomain}].Kind == TableBroken:
		t.role = roleBroken
	case t.server != "" && slices.ContainsFunc(views, func(v view) bool { return v.to(t).unreachable() }):
		t.role = roleBroken
	}
	return t
}

// listens reports whether stsmapd is configured to listen there.
func listens(f *Facts, server string) bool {
	return slices.ContainsFunc(f.Listeners, func(l string) bool { return l == server || loopback(l) == server })
}

// rivalPort reports whether a server has the default port of another MTA-STS daemon.
func rivalPort(server string) bool {
	return strings.HasPrefix(server, "inet:") &&
		(strings.HasSuffix(server, ":8461") || strings.HasSuffix(server, ":8642"))
}

// meansStsmapd guesses whether an invalid table should query stsmapd.
func meansStsmapd(f *Facts, text string) bool {
	_, last, _ := cutLast(text, ":")
	if _, err := f.MapNames.Parse(strings.Trim(last, " {}")); err == nil {
		return true
	}
	for _, l := range f.Listeners {
		_, address, _ := strings.Cut(l, ":")
		_, usual, _ := strings.Cut(loopback(l), ":")
		if strings.Contains(text, address) || strings.Contains(text, usual) {
			return true
		}
	}
	return false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// readRoutes finds the services that the tables of transports name for mail to MX hosts. What is in a database that
// Postfix cannot list, such as one of SQL, stays unknown.
func (p Postfix) readRoutes(ctx context.Context, f *Facts) {
	for _, name := range []string{"transport_maps", "sender_dependent_default_transport_maps"} {
		for _, table := range splitLookupTables(f.Parameters[name]) {
			for _, service := range routesIn(p.entries(ctx, table)) {
				f.Routes = include(f.Routes, service)
			}
		}
	}
}

// entries returns the text of a table, "" if it has none.
func (p Postfix) entries(ctx context.Context, table string) string {
	table = strings.TrimPrefix(table, "proxy:")
	class, text, _ := strings.Cut(table, ":")
	switch class {
	case "inline", "randmap", "static":
		return text
	case "cidr", "pcre", "regexp":
		file, err := os.ReadFile(text)
		if err != nil { // such as pcre:{ rules }
			return text
		}
		return string(file)
	case "btree", "cdb", "dbm", "hash", "lmdb", "sdbm", "texthash":
		postmap := filepath.Join(filepath.Dir(p.postconf), "postmap")
		text, _, _ := command(ctx, nil, nil, postmap, append(slices.Clone(p.flags), "-s", table)...)
		return text
	}
	return ""
}

// routesIn returns the services that entries of the form service:hop name. It leaves out those that name a host in
// brackets, such as a content filter, for then the recipients' domains have no say.
func routesIn(text string) []string {
	var services []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		between := func(c rune) bool { return strings.ContainsRune(" \t\r\n,={}", c) }
		for _, word := range strings.FieldsFunc(line, between) {
			service, hop, found := strings.Cut(word, ":")
			if found && service != "" && !strings.HasPrefix(hop, "[") {
				services = include(services, service)
			}
		}
	}
	return services
}
