package dnsclient

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

const (
	dnsPort = 53
	// maxNameservers is the number of nameserver lines that are used, as in libc.
	maxNameservers = 3
	// maxIgnored is the number of ignored lines that an error names.
	maxIgnored = 3
)

// resolvConf is what is used of a resolv.conf(5).
type resolvConf struct {
	servers []netip.AddrPort // at most maxNameservers
	trustAD bool             // "options trust-ad"
	tcp     bool             // "options use-vc"
	rotate  bool             // "options rotate"
	ignored error            // names the first lines that are ignored, with the reasons; nil: none
}

// parseResolvConf parses a resolv.conf(5) as libc does: a line that it does not know or that is invalid is ignored.
// Unlike in libc, an address may have a port. What has no meaning for lookups of complete names is no reason for an
// error: search, domain, sortlist and most options.
func parseResolvConf(text string) resolvConf {
	var conf resolvConf
	var ignored []error
	line := 0
	for l := range strings.Lines(text) {
		line++
		if i := strings.IndexAny(l, "#;"); i >= 0 {
			l = l[:i]
		}
		fields := strings.Fields(l)
		if len(fields) == 0 {
			continue
		}
		if err := conf.add(fields[0], fields[1:]); err != nil && len(ignored) < maxIgnored {
			ignored = append(ignored, fmt.Errorf("line %d ignored: %w", line, err))
		}
	}
	conf.ignored = errors.Join(ignored...)
	return conf
}

// add adds one line. The error says why it is ignored, or a part of it.
func (c *resolvConf) add(keyword string, args []string) error {
	switch keyword {
	case "nameserver":
		addr, err := parseNameserver(args)
		switch {
		case err != nil:
			return err
		case len(c.servers) == maxNameservers:
			return fmt.Errorf("nameserver %v is one more than the %d that are used", addr.Addr(), maxNameservers)
		}
		c.servers = append(c.servers, addr)
	case "options":
		var errs []error
		for _, option := range args {
			if err := c.addOption(option); err != nil {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs[:min(len(errs), maxIgnored)]...)
	case "search", "domain", "sortlist", "family", "lookup":
	default:
		return fmt.Errorf("unknown keyword %s", quoted(keyword))
	}
	return nil
}

// addOption adds one option. The error says why it is ignored.
func (c *resolvConf) addOption(option string) error {
	name, _, _ := strings.Cut(option, ":")
	switch name {
	case "trust-ad":
		c.trustAD = true
	case "use-vc", "usevc", "tcp":
		c.tcp = true
	case "rotate":
		c.rotate = true
	case "timeout":
		return errors.New("option timeout: the setting dns.timeout counts")
	case "attempts":
		return errors.New("option attempts: the setting dns.attempts counts")
	case "no-aaaa":
		return errors.New("option no-aaaa: IPv6 addresses are asked for where this host has IPv6")
	case "edns0", // always used
		"ndots", "no-tld-query", "debug", "inet6", "ip6-bytestring", "ip6-dotint", "no-ip6-dotint",
		"single-request", "single-request-reopen", "no-check-names", "no-reload", "insecure1", "insecure2":
	default:
		return fmt.Errorf("unknown option %s", quoted(option))
	}
	return nil
}

func parseNameserver(args []string) (netip.AddrPort, error) {
	if len(args) == 0 {
		return netip.AddrPort{}, errors.New("nameserver without an address")
	}
	return parseServer(args[0])
}

// CheckServer returns an error if s is no address for Config.Servers.
func CheckServer(s string) error {
	_, err := parseServer(s)
	return err
}

// parseServer parses the address of a server, with a port if it is not 53. An IPv6 address may have a scope id, and has
// brackets if a port follows. The result is never an IPv4 address mapped into IPv6.
func parseServer(s string) (netip.AddrPort, error) {
	host, port := s, uint16(dnsPort)
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var rest string
		if host, rest, ok = strings.Cut(inner, "]"); !ok || !strings.Contains(host, ":") {
			return netip.AddrPort{}, badServer(s)
		}
		if rest != "" {
			if port, ok = parsePort(strings.CutPrefix(rest, ":")); !ok {
				return netip.AddrPort{}, badServer(s)
			}
		}
	} else if strings.Count(s, ":") == 1 {
		var after string
		host, after, _ = strings.Cut(s, ":")
		if port, ok = parsePort(after, true); !ok {
			return netip.AddrPort{}, badServer(s)
		}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !isScopeID(addr.Zone()) {
		return netip.AddrPort{}, badServer(s)
	}
	return netip.AddrPortFrom(addr.Unmap(), port), nil
}

// isScopeID reports whether s is empty or may be the name or number of a network interface.
func isScopeID(s string) bool {
	const maxInterfaceName = 15 // of Linux
	return len(s) <= maxInterfaceName &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("[]%:/", r) })
}

// parsePort parses the port after a colon. It returns false if the colon was not found or s is not a port.
func parsePort(s string, found bool) (uint16, bool) {
	port, err := strconv.ParseUint(s, 10, 16)
	return uint16(port), found && err == nil && port != 0
}

func badServer(s string) error {
	return fmt.Errorf("dns server %s: must be an IP address, with a port if it is not %d (192.0.2.53, "+
		"192.0.2.53:5353, [2001:db8::1]:5353)", quoted(s), dnsPort)
}

// quoted returns a bounded text in quotes.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

func readResolvConf(path string, info os.FileInfo) (resolvConf, error) {
	if !info.Mode().IsRegular() {
		return resolvConf{}, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxResolvConf+1))
	if err != nil {
		return resolvConf{}, err
	}
	if len(text) > maxResolvConf {
		return resolvConf{}, fmt.Errorf("%s is longer than %d bytes", path, maxResolvConf)
	}
	conf := parseResolvConf(string(text))
	if len(conf.servers) == 0 {
		return resolvConf{}, errors.Join(fmt.Errorf("%s names no nameserver", path), conf.ignored)
	}
	return conf, nil
}
