package tlspolicy

import (
	"errors"
	"strings"
	"testing"
)

func TestParseMapName(t *testing.T) {
	for _, c := range []struct {
		why, name string
		want      Features
	}{
		{"the plain list", "sts", Features{}},
		{"one feature", "sts+dane", Features{DANE: true}},
		{"all, in the order of the documentation", "sts+dane+tlsrpt+strict+defer+nosni+shadow",
			Features{DANE: true, TLSRPT: true, Strict: true, Defer: true, NoSNI: true, Shadow: true}},
		{"any order", "sts+shadow+dane", Features{DANE: true, Shadow: true}},
		{"postfix-mta-sts-resolver's name", "postfix", Features{}},
		{"postfix-tlspol's name", "QUERY", Features{DANE: true}},
		{"postfix-tlspol's name in any case", "query", Features{DANE: true}},
		{"postfix-tlspol's name for Postfix 3.10", "QUERYwithTLSRPT", Features{DANE: true, TLSRPT: true}},
		{"the same in any case", "QUERYWITHTLSRPT", Features{DANE: true, TLSRPT: true}},
	} {
		got, err := ParseMapName(c.name)
		if err != nil || got != c.want {
			t.Errorf("%s: %q: %+v, %v", c.why, c.name, got, err)
		}
	}
	for _, c := range []struct{ why, name string }{
		{"nothing", ""},
		{"a list of somebody else", "virtual"},
		{"sts must come first", "dane+sts"},
		{"sts must be there", "dane"},
		{"an unknown feature must not be taken for a known one", "sts+dan"},
		{"a feature twice is a slip", "sts+dane+dane"},
		{"an empty feature", "sts+"},
		{"an empty feature in the middle", "sts++dane"},
		{"case matters in our own names", "STS"},
		{"postfix's name has no features", "postfix+dane"},
		{"longer than all features together", "sts+" + strings.Repeat("x", 9000)},
		{"control characters", "sts\x00"},
		{"a name that no configuration adds", "office"},
	} {
		_, err := ParseMapName(c.name)
		var unknown *UnknownMapError
		if !errors.As(err, &unknown) {
			t.Errorf("%s: %.40q: %v, want an UnknownMapError", c.why, c.name, err)
			continue
		}
		if text := err.Error(); len(text) > 300 || strings.ContainsAny(text, "\x00\n") {
			t.Errorf("%s: the error text is long or unprintable: %q", c.why, text)
		}
	}
}
