package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// domainSet is the domains found so far, each once, in the order in which they came.
type domainSet struct {
	domains []dnsname.Name
	seen    map[string]bool
	bad     int // lines of lists that are no domains
}

func (s *domainSet) add(name dnsname.Name) {
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if !s.seen[name.String()] {
		s.seen[name.String()] = true
		s.domains = append(s.domains, name)
	}
}

// lineError: a line of a list is neither a domain nor an address. The line is left out.
type lineError struct {
	file string
	line int
	err  error
}

// Error implements error.
func (e *lineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.file, e.line, e.err) }

// readList reads one domain or mail address a line; what follows a # is a comment. complain is told of other lines. The
// error is the reader's.
func (s *domainSet) readList(in *maillog.Input, complain func(*lineError)) error {
	number := 0
	return in.EachLine(func(line []byte) {
		number++
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		name, err := parseListLine(string(line))
		switch {
		case err != nil:
			s.bad++
			complain(&lineError{in.Name, number, err})
		case !name.IsZero():
			s.add(name)
		}
	})
}

// parseListLine returns the domain of a line, the zero Name for a line without any. An address may stand in angle
// brackets. The line may be one of a Postfix policy table, such as postfix-tlspol's -export prints, or of its -dump,
// which has a number before the policy.
func parseListLine(line string) (dnsname.Name, error) {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if line == "" {
		return dnsname.Name{}, nil
	}
	if inner, ok := strings.CutPrefix(line, "<"); ok {
		line = strings.TrimSuffix(inner, ">")
	}
	if fields := strings.Fields(line); len(fields) > 1 && isPolicy(fields[1:]) {
		line = fields[0]
	}
	return dnsname.Parse(line[strings.LastIndexByte(line, '@')+1:])
}

// isPolicy reports whether the fields after a domain are a policy of smtp_tls_policy_maps, or a number and a policy.
func isPolicy(fields []string) bool {
	if _, err := strconv.ParseUint(fields[0], 10, 32); err == nil && len(fields) > 1 {
		fields = fields[1:]
	}
	switch fields[0] {
	case "none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure":
		return true
	}
	return false
}

// addDelivery adds the recipient's domain of a delivery, or of an attempt, to another host. Events of other kinds, and
// recipients without a domain name, are left out.
func (s *domainSet) addDelivery(_ *maillog.Line, event maillog.Event) {
	d, ok := event.(*maillog.Delivery)
	if !ok || d.Relay.IsLocal() || s.seen[string(d.Domain())] {
		return
	}
	if name, err := dnsname.Parse(string(d.Domain())); err == nil {
		s.add(name)
	}
}
