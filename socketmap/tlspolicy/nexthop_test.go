package tlspolicy

import (
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// nextHops are keys as Postfix sends them; want is the policy domain, "" for none.
func nextHops() []struct{ why, key, want string } {
	return []struct{ why, key, want string }{
		{"a domain", "example.com", "example.com"},
		{"upper case", "Example.COM", "example.com"},
		{"a final dot", "example.com.", "example.com"},
		{"with a port", "example.com:587", "example.com"},
		{"with a service name", "example.com:submission", "example.com"},
		{"without MX lookup: a smart host's name is the policy domain (RFC 8461 3.4)", "[mail.example.com]",
			"mail.example.com"},
		{"a smart host with a port", "[mail.example.com]:587", "mail.example.com"},
		{"a smart host with a service name", "[mail.example.com]:submission", "mail.example.com"},
		{"a U-label domain (SMTPUTF8)", "bücher.example", "xn--bcher-kva.example"},
		{"a U-label smart host", "[bücher.example]:25", "xn--bcher-kva.example"},
		{"an A-label domain", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"an A-label domain of a newer Unicode", "xn--b39h.example", "xn--b39h.example"},
		{"a colon without a port is the default port to Postfix", "example.com:", "example.com"},
		{"the same of a smart host", "[mail.example.com]:", "mail.example.com"},

		{"a parent, asked after NOTFOUND: its policy must not be used (RFC 8461 3.4)", ".example.com", ""},
		{"a top-level parent", ".com", ""},
		{"an IPv4 literal", "[192.0.2.1]", ""},
		{"an IPv4 literal with a port", "[192.0.2.1]:25", ""},
		{"an IPv6 literal as in mail addresses", "[IPv6:2001:db8::1]", ""},
		{"the same in other case", "[ipv6:2001:DB8::1]:25", ""},
		{"an IPv6 literal", "[2001:db8::1]:25", ""},
		{"a bare IPv4 address", "192.0.2.1", ""},
		{"a bare IPv6 address", "2001:db8::1", ""},
		{"a UNIX path", "/var/run/lmtp", ""},
		{"a UNIX path as some transports write it", "unix:/var/run/lmtp", ""},
		{"a lone label", "localhost", ""},
		{"nothing", "", ""},
		{"a dot", ".", ""},
		{"brackets that do not close", "[mail.example.com", ""},
		{"brackets around nothing", "[]", ""},
		{"text after the brackets", "[mail.example.com]x", ""},
		{"two colons", "example.com::", ""},
		{"a bracketed name and two colons", "[mail.example.com]::", ""},
		{"a port alone", ":25", ""},
		{"a colon alone", ":", ""},
		{"brackets around nothing, and a colon", "[]:", ""},
		{"an IPv4 literal and a colon", "[192.0.2.1]:", ""},
		{"an IPv4 address and a colon", "192.0.2.1:", ""},
		{"an IPv6 address that ends with colons", "2001:db8::", ""},
		{"a port with an illegal byte", "example.com:2 5", ""},
		{"two ports", "example.com:25:25", ""},
		{"an address", "user@example.com", ""},
		{"a space", "example.com servername=x", ""},
		{"a null byte", "example.com\x00", ""},
		{"not UTF-8", "b\xfccher.example", ""},
		{"an underscore", "_mta-sts.example.com", ""},
		{"a label too long", strings.Repeat("a", 64) + ".com", ""},
		{"ten thousand bytes", strings.Repeat("a.", 5000), ""},
	}
}

func TestParseNextHop(t *testing.T) {
	for _, c := range nextHops() {
		got := ""
		if d, ok := ParseNextHop(c.key).(Domain); ok {
			got = d.Domain.String()
		}
		if got != c.want {
			t.Errorf("%s: %.60q has the policy domain %q, want %q", c.why, c.key, got, c.want)
		}
	}
}

// TestDestination: the destination has the port and the kind of hosts that Postfix connects to, for DANE.
func TestDestination(t *testing.T) {
	for _, c := range []struct {
		key    string
		port   uint16
		direct bool
	}{
		{"example.com", 0, false}, {"example.com:25", 0, false}, {"example.com:smtp", 0, false},
		{"example.com:", 0, false}, {"[mail.example.com]:", 0, true},
		{"example.com:587", 587, false}, {"[mail.example.com]", 0, true}, {"[mail.example.com]:25", 0, true},
		{"[mail.example.com]:submission", 587, true}, {"[mail.example.com]:2525", 2525, true},
		{"example.com:no-such-service", 0, false}, {"example.com:99999", 0, false},
	} {
		d, ok := ParseNextHop(c.key).(Domain)
		if !ok || d.Port != c.port || d.Direct != c.direct {
			t.Errorf("%s: port %d, direct %v, want %d, %v", c.key, d.Port, d.Direct, c.port, c.direct)
		}
	}
}

func FuzzParseNextHop(f *testing.F) {
	for _, c := range nextHops() {
		f.Add(c.key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		d, ok := ParseNextHop(key).(Domain)
		if !ok {
			return
		}
		if again, err := dnsname.Parse(d.Domain.String()); err != nil || again != d.Domain {
			t.Fatalf("%q: the policy domain %q does not parse to itself: %v", key, d.Domain, err)
		}
		for _, form := range []string{
			d.Domain.String(), "[" + d.Domain.String() + "]", "[" + d.Domain.String() + "]:smtp",
			d.Domain.String() + ":", "[" + d.Domain.String() + "]:", d.Domain.String() + ":25"} {
			if again, ok := ParseNextHop(form).(Domain); !ok || again.Domain != d.Domain {
				t.Fatalf("%q: the form %q has another policy domain than %q", key, form, d.Domain)
			}
		}
		if key[0] == '.' || key[0] == '/' {
			t.Fatalf("%q has a policy domain", key)
		}
	})
}
