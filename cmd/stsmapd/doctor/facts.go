package doctor

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// Facts are what was found on a host. The first part is read from the configuration; surveyOf derives from it what the
// second part needs.
type Facts struct {
	Directory string // Postfix's configuration directory
	// main.cf and defaults, $name expanded; without parameters that this Postfix does not know
	Parameters map[string]string
	Written    map[string]string  // the same, not expanded
	Defaults   map[string]string  // Postfix's own values, expanded
	Services   []Service          // master.cf
	Warnings   []string           // what postconf and `postfix check` complained about
	Lines      map[Setting]Place  // where the files of the configuration set something
	Listeners  []string           // where stsmapd listens, in the form of socketmap.ParseSpec; the best first
	MapNames   tlspolicy.MapNames // that stsmapd knows
	Bundle     string             // the system's file of CA certificates; "" if none was found
	Routes     []string           // services that tables of transports name for mail to MX hosts

	Answers map[Query]Answer      // which servers answer
	Sockets map[SocketPath]Socket // whether Postfix's user can connect
	Files   map[string]File       // files of CA certificates, directories of them, other paths
	Tables  map[Lookup]TableState // what tables answer
	Pairs   map[KeyPair]PairState // client certificates
	Ports   map[string]bool       // whether this host knows a service of TCP by this name

	Instances   []Instance      // the others of multi_instance_directories
	StrictZones map[string]bool // zones of the predecessor's configuration on this host; true: with strict_testing
}

// Setting is what a line of a configuration file sets.
type Setting struct {
	Service   string // of master.cf; "": main.cf
	Parameter string // "": the line of the service itself
}

// Place is a line of a file.
type Place struct {
	File string
	Line int // from 1
}

// String returns file:line.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Instance is another instance of this Postfix.
type Instance struct {
	Directory string // its configuration directory
	Enabled   bool   // multi_instance_enable
	Report    Report // what was found in it
	Err       error  // why nothing could be found
}

func (f *Facts) version() version { return parseVersion(f.Parameters["mail_version"]) }

// chroot reports whether a service runs chrooted. The default of master.cf's column is "y" before Postfix 3.0 and with
// a compatibility_level below 1, else "n".
func (f *Facts) chroot(s Service) bool {
	if s.Chroot != "-" {
		return s.Chroot == "y"
	}
	level, _, _ := strings.Cut(f.Parameters["compatibility_level"], ".")
	n, err := strconv.Atoi(level)
	return !f.version().atLeast(3, 0, 0) || (err == nil && n < 1)
}

func (f *Facts) queue() string { return f.Parameters["queue_directory"] }

// root returns the directory that a service sees as /.
func (f *Facts) root(s Service) string {
	if f.chroot(s) {
		return f.queue()
	}
	return "/"
}

// seenOutside returns, as seen outside of the chroot, a path that the service uses in it. The working directory of
// services is the queue directory.
func (f *Facts) seenOutside(s Service, name string) string {
	if !path.IsAbs(name) {
		return path.Join(f.queue(), name)
	}
	return path.Join(f.root(s), name)
}

// beforeChroot returns the absolute path of a file that the service opens before it enters the chroot.
func (f *Facts) beforeChroot(name string) string {
	if !path.IsAbs(name) {
		return path.Join(f.queue(), name)
	}
	return name
}

// Parameters that findings set.
const (
	policyMaps    = "smtp_tls_policy_maps"
	securityLevel = "smtp_tls_security_level"
	dnsSupport    = "smtp_dns_support_level"
	hostLookup    = "smtp_host_lookup"
	ignoreMX      = "ignore_mx_lookup_error"
	caFile        = "smtp_tls_CAfile"
	mxPatterns    = "smtp_tls_enforce_sts_mx_patterns"
)

// Query is a question to a socketmap server.
type Query struct {
	Endpoint string // inet:host:port or unix:/path, with the path outside of any chroot
	Map      string
}

// Answer is the result of a Query.
type Answer struct {
	Kind   AnswerKind
	Detail string // the server's reason, or the error
}

// AnswerKind is the kind of server that answered.
type AnswerKind uint8

// The kinds of Answer.
const (
	NotQueried   AnswerKind = iota // not tried
	Stsmapd                        // a stsmapd that knows the map
	UnknownMap                     // stsmapd, which does not know the map name; Detail is its reason
	OtherMap                       // another socketmap server
	NoSocketmap                    // a server that sends no socketmap reply
	NoConnection                   // no connection
	Forbidden                      // this user has no permission to connect; Postfix may have it
)

// SocketPath is a path to a UNIX socket.
type SocketPath struct {
	Path string // outside of any chroot
	From string // the directory above it where Postfix starts: /, or the queue directory
}

// Socket says whether Postfix's unprivileged user can connect to a UNIX socket, by the permissions of the path.
type Socket struct {
	Kind SocketKind
	At   string // SocketClosed: the directory or file without permission
}

// SocketKind is the state of a socket's path.
type SocketKind uint8

// The kinds of Socket.
const (
	SocketUnknown SocketKind = iota // this user has no permission to look
	SocketOpen
	SocketMissing
	SocketClosed // the permissions forbid it
	SocketOther  // not a socket
)

// File is the state of a file or directory of CA certificates, or of any other file, for which FileGood says that it
// exists.
type File uint8

// The kinds of File.
const (
	FileUnknown File = iota // this user has no permission to read it
	FileGood
	FileMissing
	FileEmpty // no certificate in it; in a directory: no file name that OpenSSL would look for
)

// Lookup is a question to a lookup table.
type Lookup struct {
	Table string
	Key   string
}

// TableState is what a lookup table answered.
type TableState struct {
	Kind   TableKind
	Detail string // TableBroken: postmap's message
	Value  string // TableMatchesAll
}

// TableKind is the kind of a TableState.
type TableKind uint8

// The kinds of TableState.
const (
	TableUnknown    TableKind = iota
	TableSelective            // it has no entry
	TableMatchesAll           // it has one, although the key is one that nobody would enter
	TableBroken               // it cannot be opened or searched
)

// Service is a line of master.cf.
type Service struct {
	Name      string            // such as smtp/unix
	Command   string            // such as smtp
	Chroot    string            // "y", "n", or "-" for the default
	Root      bool              // it runs with root's privileges
	Overrides map[string]string // -o settings, $name expanded
	Stray     []string          // arguments that are no option, or an -o without a setting
	Line      string            // all of it, in one line
}

// survey lists what to look at before a diagnosis.
type survey struct {
	Queries []Query
	Sockets []SocketPath
	Files   []string // absolute paths of files of certificates
	Dirs    []string // directories of certificates
	Paths   []string // files whose existence matters
	Tables  []Lookup
	Pairs   []KeyPair
	Ports   []string
}

// surveyOf derives from the first part of Facts what the second part needs.
func surveyOf(f Facts) survey {
	var s surveyor
	views := viewsOf(&f)
	for _, v := range views {
		s.view(v)
	}
	for _, listener := range candidates(&f) {
		for _, v := range views {
			if spec, ok := v.serverFor(listener); ok {
				s.server(v, lookupTable{server: spec, name: "sts"})
			}
		}
	}
	return s.survey
}

// surveyor builds a survey without duplicates.
type surveyor struct{ survey }

func (s *surveyor) view(v view) {
	for _, text := range splitLookupTables(v.value(policyMaps)) {
		t := parseLookupTable(text)
		switch {
		case t.server != "":
			s.server(v, t)
		case t.class != "socketmap" && strings.Contains(text, ":"):
			s.Tables = include(s.Tables, Lookup{text, probeDomain})
		}
	}
	for _, p := range sideTables() {
		for _, text := range splitLookupTables(v.value(p.parameter)) {
			s.Tables = include(s.Tables, Lookup{text, p.key})
		}
	}
	s.Pairs = append(s.Pairs, pairsOf(v)...)
	for _, d := range destinationsOf(v) {
		if _, port, err := splitDestination(d.text); err == nil && port != "" {
			s.Ports = include(s.Ports, port)
		}
	}
	if file := v.value(tlsConfig); path.IsAbs(file) {
		s.Paths = include(s.Paths, file)
	}
	if file := v.value(caFile); file != "" {
		s.Files = include(s.Files, v.facts.beforeChroot(file))
	}
	if dir := v.value("smtp_tls_CApath"); dir != "" {
		s.Dirs = include(s.Dirs, v.facts.seenOutside(v.service, dir))
	}
}

func (s *surveyor) server(v view, t lookupTable) {
	a := v.to(t)
	s.Queries = include(s.Queries, Query{a.endpoint(), t.name})
	if way, ok := a.socketPath(); ok {
		s.Sockets = include(s.Sockets, way)
	}
	if hosts, ok := a.hostsFile(); ok {
		s.Paths = include(s.Paths, hosts)
	}
	if outside, ok := a.hostSocketPath(); ok {
		s.Sockets = include(s.Sockets, outside)
	}
}

// include appends an item that the list does not contain yet.
func include[T comparable](list []T, item T) []T {
	for _, old := range list {
		if old == item {
			return list
		}
	}
	return append(list, item)
}
