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

// view is Postfix's configuration as one service of master.cf has it.
type view struct {
	facts     *Facts
	service   Service
	principal bool // mail to the internet goes through it; the others are content filters and the like
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
	if principal == nil { // who knows which of them matters: all of them do
		for i := range side {
			side[i].principal = true
		}
	}
	return append(principal, side...)
}

// transport is the service that a transport:nexthop names.
func transport(value string) string {
	name, _, _ := strings.Cut(value, ":")
	return strings.TrimSpace(name)
}

// value is that of a parameter, "" too where this Postfix does not know it.
func (v view) value(parameter string) string {
	if value, ok := v.service.Overrides[parameter]; ok {
		return value
	}
	return v.facts.Parameters[parameter]
}

// word is the value of a parameter whose values are words in any case.
func (v view) word(parameter string) string { return strings.ToLower(v.value(parameter)) }

func (v view) yes(parameter string) bool { return v.word(parameter) == "yes" }

// knows reports whether this Postfix has the parameter at all.
func (v view) knows(parameter string) bool {
	_, ok := v.facts.Parameters[parameter]
	return ok
}

// owner is the service whose override a parameter's value is, "" for main.cf.
func (v view) owner(parameter string) string {
	if _, ok := v.service.Overrides[parameter]; ok {
		return v.service.Name
	}
	return ""
}

func (v view) fix(parameter, value string) Fix { return Fix{v.owner(parameter), parameter, value} }

func (v view) version() version { return parseVersion(v.facts.Parameters["mail_version"]) }

// chroot reports whether a service runs chrooted. The default of master.cf's column has been "n" since Postfix 3.0, but
// for those whose compatibility_level is below 1.
func (v view) chroot(s Service) bool {
	if s.Chroot != "-" {
		return s.Chroot == "y"
	}
	level, _, _ := strings.Cut(v.facts.Parameters["compatibility_level"], ".")
	n, err := strconv.Atoi(level)
	return !v.version().atLeast(3, 0, 0) || (err == nil && n < 1)
}

func (v view) queue() string { return v.facts.Parameters["queue_directory"] }

// root is the directory that a service sees as /.
func (v view) root(s Service) string {
	if v.chroot(s) {
		return v.queue()
	}
	return "/"
}

// within is where a path that the service uses at work is, as seen from outside. Services work in the queue directory.
func (v view) within(s Service, name string) string {
	if !path.IsAbs(name) {
		return path.Join(v.queue(), name)
	}
	return path.Join(v.root(s), name)
}

// pre is where a path is that the service uses before it enters the chroot.
func (v view) pre(name string) string {
	if !path.IsAbs(name) {
		return path.Join(v.queue(), name)
	}
	return name
}

// asker is the service that asks a table: smtp itself, or proxymap for it.
func (v view) asker(t table) Service {
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

// endpoint is where the socketmap server of a table is, as seen from outside of any chroot.
func (v view) endpoint(t table) string {
	if name, ok := socketPath(t.server); ok {
		return "unix:" + v.within(v.asker(t), name)
	}
	return t.server
}

// way is how the asking service gets to the table's UNIX socket.
func (v view) way(t table) (Reach, bool) {
	name, ok := socketPath(t.server)
	asker := v.asker(t)
	from := v.root(asker)
	if !path.IsAbs(name) {
		from = v.queue()
	}
	return Reach{Path: v.within(asker, name), From: from}, ok
}

// outside is the way to the table's UNIX socket for one who does not think of the chroot, to tell this mistake from
// others.
func (v view) outside(t table) (Reach, bool) {
	name, ok := socketPath(t.server)
	return Reach{Path: path.Clean(name), From: "/"}, ok && path.IsAbs(name) && v.chroot(v.asker(t))
}

// hostsFile is the file in the chroot that tells the address of the table's host, where that is a name.
func (v view) hostsFile(t table) (name string, ok bool) {
	hostPort, ok := strings.CutPrefix(t.server, "inet:")
	host, _, err := net.SplitHostPort(hostPort)
	if !ok || err != nil || !v.chroot(v.asker(t)) {
		return "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false
	}
	return v.within(v.asker(t), "/etc/hosts"), true
}

// reach is how a listener of stsmapd's is written in a table of this service; false where the chroot hides it.
func (v view) reach(listener string) (server string, ok bool) {
	name, ok := socketPath(listener)
	if !ok {
		return loopback(listener), true
	}
	if !v.chroot(v.service) {
		return listener, true
	}
	inside, ok := strings.CutPrefix(path.Clean(name), path.Clean(v.queue())+"/")
	return "unix:/" + inside, ok
}

// reachAll is how a listener is written in a table that all of these services have.
func reachAll(views []view, listener string) (server string, ok bool) {
	for i, v := range views {
		one, ok := v.reach(listener)
		switch {
		case !ok:
			return "", false
		case i == 0:
			server = one
		case one != server: // some see the queue directory as /; for all of them it is where they work
			name, _ := socketPath(listener)
			inside, _ := strings.CutPrefix(path.Clean(name), path.Clean(v.queue())+"/")
			server = "unix:" + inside
		}
	}
	return server, true
}

// loopback is the address to ask where a listener takes connections to every address of the host.
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

// socketPath is the path of unix:path.
func socketPath(server string) (string, bool) { return strings.CutPrefix(server, "unix:") }

// soundServer reports whether a server can be written so in a socketmap.
func soundServer(server string) bool {
	if name, ok := socketPath(server); ok {
		return name != ""
	}
	_, _, err := socketmap.ParseSpec(server)
	return err == nil
}
