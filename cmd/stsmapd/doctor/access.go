package doctor

import (
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// access is how a service of master.cf reaches a lookup table.
type access struct {
	view
	table lookupTable
}

// client returns the service that queries the table: smtp itself, or proxymap for it.
func (a access) client() Service {
	if !a.table.proxied {
		return a.service
	}
	for _, s := range a.facts.Services {
		if s.Name == "proxymap/unix" {
			return s
		}
	}
	return Service{Name: "proxymap/unix", Chroot: "n"}
}

// endpoint returns the socketmap server of the table, with the path outside of any chroot.
func (a access) endpoint() string {
	if name, ok := unixPath(a.table.server); ok {
		return "unix:" + a.facts.seenOutside(a.client(), name)
	}
	return a.table.server
}

// answer returns what the server of the table answered.
func (a access) answer() Answer { return a.facts.Answers[Query{a.endpoint(), a.table.name}] }

// socketPath returns the path by which the client service reaches the table's UNIX socket.
func (a access) socketPath() (SocketPath, bool) {
	name, ok := unixPath(a.table.server)
	asker := a.client()
	from := a.facts.root(asker)
	if !path.IsAbs(name) {
		from = a.facts.queue()
	}
	return SocketPath{Path: a.facts.seenOutside(asker, name), From: from}, ok
}

// hostSocketPath returns the path of the table's UNIX socket as if there were no chroot, to detect this mistake.
func (a access) hostSocketPath() (SocketPath, bool) {
	name, ok := unixPath(a.table.server)
	return SocketPath{Path: path.Clean(name), From: "/"}, ok && path.IsAbs(name) && a.facts.chroot(a.client())
}

// hostsFile returns the chroot's /etc/hosts if the table's server is a host name in a chroot.
func (a access) hostsFile() (name string, ok bool) {
	hostPort, ok := strings.CutPrefix(a.table.server, "inet:")
	host, _, err := net.SplitHostPort(hostPort)
	if !ok || err != nil || !a.facts.chroot(a.client()) {
		return "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false
	}
	return a.facts.seenOutside(a.client(), "/etc/hosts"), true
}

// unapproved reports whether proxymap(8) refuses to query the table. By default, proxy_read_maps contains the tables of
// main.cf's smtp_tls_policy_maps.
func (a access) unapproved() bool {
	return a.table.proxied && a.knows("proxy_read_maps") &&
		!slices.Contains(splitLookupTables(a.value("proxy_read_maps")), a.table.text)
}

// unreachable reports whether the table is known not to reach stsmapd.
func (a access) unreachable() bool {
	if way, ok := a.socketPath(); ok {
		switch a.facts.Sockets[way].Kind {
		case SocketMissing, SocketOther:
			return true
		case SocketClosed:
			return !a.client().Root
		}
	}
	switch a.answer().Kind {
	case NoConnection, NoSocketmap, OtherMap:
		return true
	}
	return false
}
