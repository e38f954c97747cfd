package doctor

import (
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap"
)

// view is Postfix's configuration for one service of master.cf.
type view struct {
	facts     *Facts
	service   Service
	principal bool // it sends mail to the internet; the others are content filters and so on
}

// viewsOf returns a view for each SMTP client of master.cf, the principal ones first.
func viewsOf(f *Facts) []view {
	var principal, side []view
	transports := []string{transport(f.Parameters["default_transport"]), transport(f.Parameters["relay_transport"])}
	for _, s := range f.Services {
		name, kind, _ := strings.Cut(s.Name, "/")
		switch {
		case kind != "unix" || path.Base(s.Command) != "smtp":
		case slices.Contains(transports, name):
			principal = append(principal, view{f, s, true})
		default:
			side = append(side, view{f, s, false})
		}
	}
	if principal == nil { // it is not known which one sends mail to the internet: all count
		for i := range side {
			side[i].principal = true
		}
	}
	return append(principal, side...)
}

// transport returns the service in a transport:nexthop.
func transport(value string) string {
	name, _, _ := strings.Cut(value, ":")
	return strings.TrimSpace(name)
}

// value returns the value of a parameter, "" if this Postfix does not know it.
func (v view) value(parameter string) string {
	if value, ok := v.service.Overrides[parameter]; ok {
		return value
	}
	return v.facts.Parameters[parameter]
}

// word returns the value of a parameter in lower case.
func (v view) word(parameter string) string { return strings.ToLower(v.value(parameter)) }

func (v view) yes(parameter string) bool { return v.word(parameter) == "yes" }

// knows reports whether this Postfix has the parameter at all.
func (v view) knows(parameter string) bool {
	_, ok := v.facts.Parameters[parameter]
	return ok
}

// owner returns the service whose override sets a parameter, "" for main.cf.
func (v view) owner(parameter string) string {
	if _, ok := v.service.Overrides[parameter]; ok {
		return v.service.Name
	}
	return ""
}

func (v view) fix(parameter, value string) Fix { return Fix{v.owner(parameter), parameter, value} }

func (v view) version() version { return parseVersion(v.facts.Parameters["mail_version"]) }

// chroot reports whether a service runs chrooted. The default of master.cf's column is "y" before Postfix 3.0 and with
// a compatibility_level below 1, else "n".
func (v view) chroot(s Service) bool {
	if s.Chroot != "-" {
		return s.Chroot == "y"
	}
	level, _, _ := strings.Cut(v.facts.Parameters["compatibility_level"], ".")
	n, err := strconv.Atoi(level)
	return !v.version().atLeast(3, 0, 0) || (err == nil && n < 1)
}

func (v view) queue() string { return v.facts.Parameters["queue_directory"] }

// root returns the directory that a service sees as /.
func (v view) root(s Service) string {
	if v.chroot(s) {
		return v.queue()
	}
	return "/"
}

// seenOutside returns, as seen outside of the chroot, a path that the service uses in it. The working directory of
// services is the queue directory.
func (v view) seenOutside(s Service, name string) string {
	if !path.IsAbs(name) {
		return path.Join(v.queue(), name)
	}
	return path.Join(v.root(s), name)
}

// beforeChroot returns the absolute path of a file that the service opens before it enters the chroot.
func (v view) beforeChroot(name string) string {
	if !path.IsAbs(name) {
		return path.Join(v.queue(), name)
	}
	return name
}

// client returns the service that queries a table: smtp itself, or proxymap for it.
func (v view) client(t lookupTable) Service {
	if !t.proxied {
		return v.service
	}
	for _, s := range v.facts.Services {
		if s.Name == "proxymap/unix" {
			return s
		}
	}
	return Service{Name: "proxymap/unix", Chroot: "n"}
}

// endpoint returns the socketmap server of a table, with the path outside of any chroot.
func (v view) endpoint(t lookupTable) string {
	if name, ok := unixPath(t.server); ok {
		return "unix:" + v.seenOutside(v.client(t), name)
	}
	return t.server
}

// socketPath returns the path by which the client service reaches the table's UNIX socket.
func (v view) socketPath(t lookupTable) (SocketPath, bool) {
	name, ok := unixPath(t.server)
	asker := v.client(t)
	from := v.root(asker)
	if !path.IsAbs(name) {
		from = v.queue()
	}
	return SocketPath{Path: v.seenOutside(asker, name), From: from}, ok
}

// hostSocketPath returns the path of the table's UNIX socket as if there were no chroot, to detect this mistake.
func (v view) hostSocketPath(t lookupTable) (SocketPath, bool) {
	name, ok := unixPath(t.server)
	return SocketPath{Path: path.Clean(name), From: "/"}, ok && path.IsAbs(name) && v.chroot(v.client(t))
}

// hostsFile returns the chroot's /etc/hosts if the table's server is a host name in a chroot.
func (v view) hostsFile(t lookupTable) (name string, ok bool) {
	hostPort, ok := strings.CutPrefix(t.server, "inet:")
	host, _, err := net.SplitHostPort(hostPort)
	if !ok || err != nil || !v.chroot(v.client(t)) {
		return "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false
	}
	return v.seenOutside(v.client(t), "/etc/hosts"), true
}

// serverFor returns the server of a table of this service for a listener of stsmapd; false if the chroot hides it.
func (v view) serverFor(listener string) (server string, ok bool) {
	name, ok := unixPath(listener)
	if !ok {
		return loopback(listener), true
	}
	if !v.chroot(v.service) {
		return listener, true
	}
	inside, ok := strings.CutPrefix(path.Clean(name), path.Clean(v.queue())+"/")
	return "unix:/" + inside, ok
}

// serverForAll returns the server of a table that all these services use, for a listener.
func serverForAll(views []view, listener string) (server string, ok bool) {
	for i, v := range views {
		one, ok := v.serverFor(listener)
		switch {
		case !ok:
			return "", false
		case i == 0:
			server = one
		case one != server: // a path relative to the queue directory, the working directory of all services
			name, _ := unixPath(listener)
			inside, _ := strings.CutPrefix(path.Clean(name), path.Clean(v.queue())+"/")
			server = "unix:" + inside
		}
	}
	return server, true
}

// loopback replaces the unspecified address of a listener by 127.0.0.1.
func loopback(listener string) string {
	hostPort := strings.TrimPrefix(listener, "inet:")
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return listener
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return "inet:127.0.0.1:" + port
	}
	return listener
}

// unixPath returns the path in unix:path.
func unixPath(server string) (string, bool) { return strings.CutPrefix(server, "unix:") }

// validServer reports whether a text is a valid server of a socketmap.
func validServer(server string) bool {
	if name, ok := unixPath(server); ok {
		return name != ""
	}
	_, _, err := socketmap.ParseSpec(server)
	return err == nil
}
