package doctor

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// valueKind is how Postfix parses the value of a parameter. The default value shows it.
type valueKind struct {
	defaults, values *regexp.Regexp
	want             string
}

// valueKinds are the kinds whose mistakes end smtp(8) when it starts.
func valueKinds() []valueKind {
	return []valueKind{
		{regexp.MustCompile(`^(yes|no)$`), regexp.MustCompile(`(?i)^(yes|no)$`), "yes or no"},
		{regexp.MustCompile(`^\d+$`), regexp.MustCompile(`^[+-]?\d+$`), "a number"},
		{regexp.MustCompile(`^\d+[smhdw]$`), regexp.MustCompile(`(?i)^\d+([smhdw].*)?$`),
			"a time, such as 30s, 5m or 1h"},
	}
}

// words are the valid values of parameters that take words, some of them several. A mistake ends smtp(8).
func words() map[string][]string {
	return map[string][]string{
		dnsSupport:                         {"", "disabled", "enabled", "dnssec"},
		hostLookup:                         {"dns", "native"},
		"smtp_address_preference":          {"any", "ipv6", "ipv4"},
		"inet_protocols":                   {"all", "ipv4", "ipv6"},
		"smtp_tls_dane_insecure_mx_policy": {"", "none", "may", "encrypt", "dane"},
		"smtp_dns_resolver_options":        {"", "res_defnames", "res_dnsrch"},
		"smtp_address_verify_target":       {"rcpt", "data"},
	}
}

// listed reports whether a parameter of words takes several.
func listed(parameter string) bool {
	return parameter == hostLookup || parameter == "inet_protocols" || parameter == "smtp_dns_resolver_options"
}

// invalidValue returns what a value should be, "" if it is valid or Postfix's check of it is not known here.
func invalidValue(parameter, value, usual string) (want string) {
	if valid, ok := words()[parameter]; ok {
		given := []string{strings.ToLower(value)}
		if listed(parameter) && value != "" {
			given = strings.FieldsFunc(strings.ToLower(value), isListSpace)
		}
		if slices.ContainsFunc(given, func(w string) bool { return !slices.Contains(valid, w) }) {
			return "one of " + strings.TrimPrefix(strings.Join(valid, ", "), ", ")
		}
		return ""
	}
	if parameter == "smtp_tls_loglevel" { // a number or a word; a mistake is only logged
		return ""
	}
	for _, kind := range valueKinds() {
		if kind.defaults.MatchString(usual) && !kind.values.MatchString(value) {
			return kind.want
		}
	}
	switch {
	case value == "0" && positive(parameter):
		return "greater than 0"
	case value == "" && neverEmpty(parameter):
		return "not empty"
	}
	return ""
}

// positive reports whether smtp(8) refuses 0.
func positive(parameter string) bool {
	switch parameter {
	case "tls_daemon_random_bytes":
		return true
	case "smtp_connect_timeout", "smtp_tls_session_cache_timeout", "smtp_connection_cache_time_limit":
		return false
	}
	return strings.HasPrefix(parameter, "smtp_") && strings.HasSuffix(parameter, "_timeout")
}

// neverEmpty reports whether smtp(8) refuses the empty value.
func neverEmpty(parameter string) bool {
	return slices.Contains([]string{
		"smtp_helo_name", "smtp_tls_ciphers", mandatoryCiphers, "tls_high_cipherlist", "tls_medium_cipherlist",
		"smtp_tls_fingerprint_digest", "smtp_tcp_port", "smtp_sasl_type",
	}, parameter)
}

func isListSpace(c rune) bool { return strings.ContainsRune(", \t\r\n", c) }

// judgeValues judges the values that smtp(8) parses when it starts.
func (d clientRules) judgeValues(v view) {
	const effect = "the SMTP client ends when it starts, and all mail is deferred"
	for _, name := range slices.Sorted(maps.Keys(v.facts.Defaults)) {
		if !strings.HasPrefix(name, "smtp_") && !strings.HasPrefix(name, "tls_") && name != "inet_protocols" {
			continue
		}
		value := v.value(name)
		want := invalidValue(name, value, v.facts.Defaults[name])
		if want == "" {
			continue
		}
		d.add(v, Finding{
			ID: "value-invalid", Severity: Error, about: name, Fixes: []Fix{v.fix(name, v.facts.Defaults[name])},
			Problem: fmt.Sprintf("%s = %s must be %s: %s", name, orEmpty(value), want, effect),
			Cure:    fmt.Sprintf("set %s = %s, which is the default", name, orEmpty(v.facts.Defaults[name])),
		})
	}
	if len(v.service.Stray) > 0 {
		d.add(v, Finding{
			ID: "master-argument", Severity: Error,
			Problem: fmt.Sprintf("master.cf: the service %s has arguments that smtp(8) does not accept (%s): %s",
				v.service.Name, strings.Join(v.service.Stray, " "), effect),
			Cure: "write each setting as `-o name=value`, without spaces around the =",
		})
	}
	d.judgeAddress(v, effect)
}

// judgeAddress judges settings that name an address or a table and whose mistakes end smtp(8).
func (d clientRules) judgeAddress(v view, effect string) {
	for _, name := range []string{"smtp_bind_address", "smtp_bind_address6"} {
		if value := v.value(name); value != "" && !isAddress(value) {
			d.add(v, Finding{
				ID: "value-invalid", Severity: Error, about: name, Fixes: []Fix{v.fix(name, "")},
				Problem: fmt.Sprintf("%s = %s must be an address: %s", name, value, effect),
				Cure:    "name an address of this host, or leave it empty",
			})
		}
	}
	if v.yes("smtp_sasl_auth_enable") && v.value("smtp_sasl_password_maps") == "" {
		d.add(v, Finding{
			ID: "sasl-without-passwords", Severity: Error, about: "smtp_sasl_auth_enable",
			Fixes:   []Fix{v.fix("smtp_sasl_auth_enable", "no")},
			Problem: "smtp_sasl_auth_enable = yes, and smtp_sasl_password_maps is empty: " + effect,
			Cure:    "set smtp_sasl_auth_enable = no, or name the table of passwords",
		})
	}
	if port := v.value("smtp_tcp_port"); port != "" && !v.facts.knowsPort(port) {
		d.add(v, Finding{
			ID: "value-invalid", Severity: Error, about: "smtp_tcp_port", Fixes: []Fix{v.fix("smtp_tcp_port", "smtp")},
			Problem: fmt.Sprintf("smtp_tcp_port = %s is no port: the SMTP client ends with each message, and all mail "+
				"is deferred", port),
			Cure: "set it to smtp",
		})
	}
}

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
