package doctor

import (
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// table is one of the lookup tables of smtp_tls_policy_maps.
type table struct {
	text    string // expanded
	written string // as in the configuration file
	class   string // Postfix's type of table, such as hash
	proxied bool   // through proxymap(8)
	server  string // of a socketmap: inet:host:port or unix:path; "" of other tables, and of a malformed socketmap
	name    string // of a socketmap: the map's

	kind tableRole
}

// tableRole is what a table is to us.
type tableRole uint8

const (
	plain     tableRole = iota
	ours                // asks stsmapd
	malformed           // was meant to ask stsmapd
	wrapped             // asks stsmapd inside of a pipemap or unionmap
	rival               // asks another daemon for MTA-STS policies
	catchAll            // knows every domain
	broken              // fails
)

// splitTables takes a list of tables apart as Postfix does: at white space and commas, but not within braces.
func splitTables(list string) []string {
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
	if begin >= 0 { // a brace is open
		tables = append(tables, list[begin:])
	}
	return tables
}

// parseTable takes one table apart.
func parseTable(text string) table {
	t := table{text: text, written: text}
	rest := text
	t.class, rest, _ = strings.Cut(rest, ":")
	if t.class == "proxy" {
		t.proxied = true
		t.class, rest, _ = strings.Cut(rest, ":")
	}
	if t.class != "socketmap" {
		return t
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && i+1 < len(rest) && soundServer(rest[:i]) {
		t.server, t.name = rest[:i], rest[i+1:]
	}
	return t
}

// searchable reports whether postmap can search such a table without asking anybody on the network.
func searchable(class string) bool {
	return slices.Contains([]string{
		"btree", "cdb", "cidr", "dbm", "fail", "hash", "inline", "lmdb", "pcre", "randmap", "regexp", "sdbm", "sqlite",
		"static", "texthash",
	}, class)
}

// database reports whether a type of table is one in its own right, whatever the rest of its text looks like.
func database(class string) bool {
	return searchable(class) || slices.Contains([]string{
		"environ", "internal", "ldap", "memcache", "mongodb", "mysql", "nis", "pgsql",
	}, class)
}

// alias reports whether a map name is what the manuals of other daemons say.
func alias(name string) bool {
	return name == "postfix" || strings.EqualFold(name, "QUERY") || strings.EqualFold(name, "QUERYwithTLSRPT")
}

// mapName spells features.
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

// classify says what a table of these services is to us.
func (t table) classify(f *Facts, views []view) table {
	_, err := tlspolicy.ParseMapName(t.name)
	known := err == nil
	mine := listens(f, t.server)
	for _, v := range views {
		switch f.Answers[Call{v.endpoint(t), t.name}].Kind {
		case Stsmapd, UnknownMap:
			mine = true
		case OtherMap:
			t.kind = plain
			if alias(t.name) || theirPort(t.server) {
				t.kind = rival
			}
			return t
		}
	}
	switch {
	case t.server != "" && (mine || known && !alias(t.name)):
		t.kind = ours
	case t.server != "" && alias(t.name):
		t.kind = rival
	case t.server == "" && !database(t.class) && meantForUs(f, t.text):
		t.kind = malformed
		_, t.name, _ = cutLast(t.text, ":")
		if t.class == "pipemap" || t.class == "unionmap" {
			t.kind = wrapped
		}
	case t.server == "" && t.class == "socketmap":
		t.kind = broken
	case t.class == "static" || f.Tables[t.text].Kind == TableMatchesAll:
		t.kind = catchAll
	case f.Tables[t.text].Kind == TableBroken:
		t.kind = broken
	}
	return t
}

// listens reports whether stsmapd's configuration says that it listens there.
func listens(f *Facts, server string) bool {
	return slices.ContainsFunc(f.Listeners, func(l string) bool { return l == server || loopback(l) == server })
}

// theirPort reports whether a server is at a port at which other daemons for MTA-STS listen unless told otherwise.
func theirPort(server string) bool {
	return strings.HasPrefix(server, "inet:") &&
		(strings.HasSuffix(server, ":8461") || strings.HasSuffix(server, ":8642"))
}

// meantForUs guesses whether a table that is none was meant to ask stsmapd.
func meantForUs(f *Facts, text string) bool {
	_, last, _ := cutLast(text, ":")
	if _, err := tlspolicy.ParseMapName(strings.Trim(last, " {}")); err == nil {
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
