package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
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
	transports := append([]string{transport(f.Parameters["default_transport"]),
		transport(f.Parameters["relay_transport"])}, f.Routes...)
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

// placesOf returns where the configuration sets what a finding is about.
func placesOf(v view, f Finding) []string {
	name := f.about
	if name == "" && len(f.Fixes) > 0 {
		name = f.Fixes[0].Parameter
	}
	setting := Setting{v.owner(name), name}
	if name == "" && f.ID == "master-argument" {
		setting = Setting{v.service.Name, ""}
	}
	if place, ok := v.facts.Lines[setting]; ok && setting != (Setting{}) {
		return []string{place.String()}
	}
	return []string{}
}

func (v view) fix(parameter, value string) Fix { return Fix{v.owner(parameter), parameter, value} }

// to returns how the service reaches a table.
func (v view) to(t lookupTable) access { return access{v, t} }

// level returns the security level for destinations that are in no table, and whether it comes from parameters of
// Postfix 2.2.
func (v view) level() (level string, legacy bool) {
	switch level := v.word(securityLevel); {
	case level != "":
		return level, false
	case v.yes("smtp_enforce_tls") && v.word("smtp_tls_enforce_peername") != "no":
		return "verify", true
	case v.yes("smtp_enforce_tls"):
		return "encrypt", true
	case v.yes("smtp_use_tls"):
		return "may", true
	}
	return "none", false
}

// wantedLevel returns the right security level.
func (v view) wantedLevel() string {
	level, _ := v.level()
	switch {
	case !slices.Contains(levels(), level):
		return "may"
	case (level == "none" || level == "may") && v.claimedFeatures().DANE && v.daneReady():
		return "dane"
	case level == "none":
		return "may"
	}
	return level
}

// daneReady reports whether all settings but the security level allow DANE.
func (v view) daneReady() bool { return len(v.daneLacks()) == 0 }

// daneLacks returns the settings that prevent DANE.
func (v view) daneLacks() []string {
	var lacks []string
	for _, p := range []string{dnsSupport, hostLookup, ignoreMX} {
		if v.daneSetting(p) != v.value(p) {
			lacks = append(lacks, fmt.Sprintf("%s is %s", p, orEmpty(v.value(p))))
		}
	}
	return lacks
}

// daneSetting returns the value that a parameter needs for DANE, the present one if that is right.
func (v view) daneSetting(parameter string) string {
	value := v.value(parameter)
	switch parameter {
	case dnsSupport:
		if v.word(parameter) != "dnssec" {
			return "dnssec"
		}
	case hostLookup:
		words := strings.FieldsFunc(v.word(parameter), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
		if v.knows(parameter) && !slices.Contains(words, "dns") {
			return strings.TrimSuffix("dns, "+value, ", ")
		}
	case ignoreMX:
		if v.yes(parameter) {
			return "no"
		}
	}
	return value
}

// claimedFeatures returns the features of the first table of stsmapd, none without one.
func (v view) claimedFeatures() tlspolicy.Features {
	for _, text := range splitLookupTables(v.value(policyMaps)) {
		if t := parseLookupTable(text).classify(v.facts, []view{v}); t.role == roleStsmapd {
			return t.claimed()
		}
	}
	return tlspolicy.Features{}
}

// serverFor returns the server of a table of this service for a listener of stsmapd; false if the chroot hides it.
func (v view) serverFor(listener string) (server string, ok bool) {
	name, ok := unixPath(listener)
	if !ok {
		return loopback(listener), true
	}
	if !v.facts.chroot(v.service) {
		return listener, true
	}
	inside, ok := v.inChroot(name)
	return "unix:" + inside, ok
}

// inChroot returns the path in the chroot for a path outside of it, false if it is not in the chroot.
func (v view) inChroot(name string) (string, bool) {
	inside, ok := strings.CutPrefix(path.Clean(name), path.Clean(v.facts.queue())+"/")
	return "/" + inside, ok
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
			inside, _ := strings.CutPrefix(path.Clean(name), path.Clean(v.facts.queue())+"/")
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
