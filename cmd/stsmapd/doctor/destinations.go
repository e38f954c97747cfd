package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// destination is a next hop that the configuration names.
type destination struct{ parameter, text string }

// destinationsOf returns the next hops that smtp(8) parses for this service.
func destinationsOf(v view) []destination {
	var list []destination
	for _, name := range []string{"relayhost", fallbackRelay} {
		for _, text := range strings.FieldsFunc(v.value(name), isListSpace) {
			list = append(list, destination{name, text})
		}
	}
	for _, name := range []string{"default_transport", "relay_transport"} {
		service, hop, _ := strings.Cut(v.facts.Parameters[name], ":")
		if service+"/unix" != v.service.Name {
			continue
		}
		for _, text := range strings.FieldsFunc(hop, isListSpace) {
			list = append(list, destination{name, text})
		}
	}
	if port := v.value("smtp_tcp_port"); port != "" {
		list = append(list, destination{"smtp_tcp_port", "[127.0.0.1]:" + port})
	}
	return list
}

// splitDestination splits a next hop as smtp(8) does, which ends with an error where this returns one.
func splitDestination(text string) (host, port string, err error) {
	if strings.HasPrefix(text, "unix:") {
		return text, "", nil
	}
	text = strings.TrimPrefix(text, "inet:")
	if rest, ok := strings.CutPrefix(text, "["); ok {
		host, rest, ok = strings.Cut(rest, "]")
		switch {
		case !ok:
			return "", "", errors.New(`the "]" is missing`)
		case rest != "" && rest[0] != ':':
			return "", "", errors.New(`only ":" and a port may follow the "]"`)
		}
		port = strings.TrimPrefix(rest, ":")
	} else if host, port, ok = cutLast(text, ":"); !ok {
		host, port = text, ""
	}
	if !isAddress(strings.TrimPrefix(strings.ToLower(host), "ipv6:")) && !isHostName(host) {
		return "", "", fmt.Errorf("%q is neither a host name nor an address", host)
	}
	if n, err := strconv.Atoi(port); err == nil && (n < 1 || n > 65535) {
		return "", "", fmt.Errorf("there is no port %d", n)
	}
	return host, port, nil
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// isHostName reports whether Postfix takes a text for a host name. It may have letters outside of ASCII.
func isHostName(text string) bool {
	text = strings.TrimSuffix(text, ".")
	bad := func(c rune) bool {
		return c < 0x80 && c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	}
	for part := range strings.SplitSeq(text, ".") {
		if part == "" || len(part) > 63 || part != strings.Trim(part, "-") || strings.ContainsFunc(part, bad) {
			return false
		}
	}
	return len(text) <= 255
}

// knowsPort reports whether a port is a number or a service that this host knows, or not known not to be.
func (f *Facts) knowsPort(port string) bool {
	if _, err := strconv.Atoi(port); err == nil {
		return true
	}
	known, looked := f.Ports[port]
	return known || !looked
}

// judgeDestinations judges the next hops that the configuration names, and where mail goes that a policy refuses.
func (d clientRules) judgeDestinations(v view) {
	for _, dest := range destinationsOf(v) {
		if dest.parameter == "smtp_tcp_port" {
			continue
		}
		_, port, err := splitDestination(dest.text)
		if err == nil && port != "" && !d.facts.knowsPort(port) {
			err = fmt.Errorf("this host knows no service %q (/etc/services)", port)
		}
		if err == nil {
			continue
		}
		effect := "the SMTP client ends with each message, and all mail is deferred"
		if dest.parameter == fallbackRelay {
			effect = "the SMTP client ends with each message that needs the fallback, and others are deferred with it"
		}
		d.add(v, Finding{
			ID: "relay-malformed", Severity: Error, about: dest.parameter,
			Problem: fmt.Sprintf("%s names %s, but %v: %s", dest.parameter, dest.text, err, effect),
			Cure:    "write it as [host] or [host]:port",
		})
	}
	if fallback := v.value(fallbackRelay); fallback != "" {
		d.add(v, Finding{
			ID: "fallback-relay", Severity: Warning, about: fallbackRelay, Fixes: []Fix{v.fix(fallbackRelay, "")},
			Problem: fmt.Sprintf("%s = %s: mail that no MX host of a domain may get under its policy is sent to %s, "+
				"under the policy of that host and not under the domain's", fallbackRelay, fallback, fallback),
			Cure: "remove it; or require TLS with that host by a table before stsmapd in " + policyMaps +
				", and let it enforce MTA-STS",
		})
	}
}
