package doctor

// Facts are what was found on a host. The first part is known before anything else is looked at; Survey says from it
// what the second part should answer.
type Facts struct {
	Directory  string            // Postfix's configuration directory
	Parameters map[string]string // main.cf and defaults, $name expanded; what this Postfix does not know is missing
	Written    map[string]string // the same, as written
	Services   []Service         // master.cf
	Listeners  []string          // where stsmapd listens, as socketmap.ParseSpec wants it; the best first
	Bundle     string            // the system's file of CA certificates; "" where none was found

	Answers map[Call]Answer       // who answers there
	Sockets map[Reach]Socket      // whether Postfix's user gets there
	Files   map[string]File       // files of CA certificates, directories of them, other paths
	Tables  map[string]TableState // how a table treats a domain that nobody has heard of
}

// Parameters are the names of main.cf whose values Facts should have.
func Parameters() []string {
	return []string{
		"mail_version", "config_directory", "queue_directory", "mail_owner", "compatibility_level",
		"default_transport", "relay_transport", "relayhost", "proxy_read_maps",
		policyMaps, securityLevel, "smtp_tls_per_site", "smtp_use_tls", "smtp_enforce_tls", "smtp_tls_enforce_peername",
		dnsSupport, "disable_dns_lookups", hostLookup, ignoreMX,
		caFile, "smtp_tls_CApath", "tls_append_default_CA", "smtp_tls_trust_anchor_file",
		mxPatterns, "smtp_tlsrpt_enable", "smtp_tls_loglevel",
	}
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

// Call is a question to a socketmap server.
type Call struct {
	Endpoint string // inet:host:port or unix:/path, the path as seen from outside of any chroot
	Map      string
}

// Answer is what came of a Call.
type Answer struct {
	Kind   AnswerKind
	Detail string // the server's reason, or the error
}

// AnswerKind says who answered.
type AnswerKind uint8

// The kinds of Answer.
const (
	Unasked     AnswerKind = iota // nobody tried
	Stsmapd                       // a stsmapd that knows the map
	UnknownMap                    // a stsmapd that does not know the map's name; Detail is its reason
	OtherMap                      // a socketmap server that is no stsmapd
	NoSocketmap                   // somebody took the connection, and gave no socketmap reply
	Nobody                        // no connection
	Forbidden                     // whoever ran the doctor may not connect; Postfix may or may not
)

// Reach is a way to a UNIX socket.
type Reach struct {
	Path string // as seen from outside of any chroot
	From string // the directory above it where Postfix begins to look: /, or the queue directory
}

// Socket says whether Postfix's unprivileged user can connect to a UNIX socket, by the permissions of the path.
type Socket struct {
	Kind SocketKind
	At   string // SocketClosed: the directory or file that lets Postfix's user not through
}

// SocketKind is what there is at the socket's path.
type SocketKind uint8

// The kinds of Socket.
const (
	SocketUnknown SocketKind = iota // could not be seen
	SocketOpen
	SocketMissing
	SocketClosed // the permissions forbid it
	SocketOther  // no socket
)

// File is what there is at the path of a file of CA certificates, of a directory of them, or of any file (FileGood: it
// is there).
type File uint8

// The kinds of File.
const (
	FileUnknown File = iota // could not be read by whoever ran the doctor
	FileGood
	FileMissing
	FileEmpty // no certificate in it; of a directory: no name by which OpenSSL finds one
)

// TableState is how a lookup table treats a domain that nobody has heard of.
type TableState struct {
	Kind   TableKind
	Detail string // TableBroken: postmap's message
}

// TableKind is the kind of a TableState.
type TableKind uint8

// The kinds of TableState.
const (
	TableUnknown   TableKind = iota
	TableSelective           // it does not know the domain
	TableMatchesAll
	TableBroken // it cannot be opened or searched
)

// Service is a line of master.cf.
type Service struct {
	Name      string            // such as smtp/unix
	Command   string            // such as smtp
	Chroot    string            // "y", "n", or "-" for the default
	Root      bool              // it keeps root's privileges
	Overrides map[string]string // -o settings, $name expanded
}

// Survey is what to look at before a diagnosis.
type Survey struct {
	Calls   []Call
	Sockets []Reach
	Files   []string // paths of files of certificates, absolute
	Dirs    []string // directories of certificates
	Paths   []string // of which only matters whether they are there
	Tables  []string // as in smtp_tls_policy_maps: local ones only, which postmap can search without asking anybody
}

// SurveyOf says what else is to be known about these Facts, of which the first part is there.
func SurveyOf(f Facts) Survey {
	var s surveyor
	views := viewsOf(&f)
	for _, v := range views {
		s.view(v)
	}
	for _, listener := range candidates(&f) {
		for _, v := range views {
			if spec, ok := v.reach(listener); ok {
				s.server(v, table{server: spec, name: "sts"})
			}
		}
	}
	return s.Survey
}

// surveyor collects what to look at, each once.
type surveyor struct{ Survey }

func (s *surveyor) view(v view) {
	for _, text := range splitTables(v.value(policyMaps)) {
		t := parseTable(text)
		switch {
		case t.server != "":
			s.server(v, t)
		case searchable(t.class) && !t.proxied:
			s.Tables = include(s.Tables, text)
		}
	}
	if file := v.value(caFile); file != "" {
		s.Files = include(s.Files, v.pre(file))
	}
	if dir := v.value("smtp_tls_CApath"); dir != "" {
		s.Dirs = include(s.Dirs, v.within(v.service, dir))
	}
}

func (s *surveyor) server(v view, t table) {
	endpoint := v.endpoint(t)
	s.Calls = include(s.Calls, Call{endpoint, t.name})
	if way, ok := v.way(t); ok {
		s.Sockets = include(s.Sockets, way)
	}
	if hosts, ok := v.hostsFile(t); ok {
		s.Paths = include(s.Paths, hosts)
	}
	if outside, ok := v.outside(t); ok {
		s.Sockets = include(s.Sockets, outside)
	}
}

// include appends what is not there yet.
func include[T comparable](list []T, item T) []T {
	for _, old := range list {
		if old == item {
			return list
		}
	}
	return append(list, item)
}
