package mtasts

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func TestMatches(t *testing.T) {
	tests := []struct {
		mx   string // the policy's mx lines
		host string
		want bool
		why  string
	}{
		{"mx: mail.example.com\n", "mail.example.com", true, "RFC 8461 4.1: the same name"},
		{"mx: MAIL.example.com.\n", "Mail.Example.COM", true, "RFC 4343: case does not matter"},
		{"mx: mail.bücher.example\n", "mail.xn--bcher-kva.example", true, "U-label and A-label are one name"},
		{"mx: mail.example.com\n", "mail2.example.com", false, "another name"},
		{"mx: mail.example.com\n", "a.mail.example.com", false, "a name below it"},
		{"mx: mail.example.com\n", "example.com", false, "a name above it"},
		{"mx: example.com\n", "mail.example.com", false, "no asterisk, no wildcard"},
		{"mx: *.example.com\n", "mail.example.com", true, "4.1: one label for the asterisk"},
		{"mx: *.example.com\n", "example.com", false, "4.1: not none"},
		{"mx: *.example.com\n", "a.mail.example.com", false, "4.1: not two"},
		{"mx: *.example.com\n", "mailexample.com", false, "the asterisk is a whole label"},
		{"mx: *.example.com\n", "mail.example.com.attacker.example", false, "a name that contains it"},
		{"mx: *.example.com\n", "mail.badexample.com", false, "a name that ends like it"},
		{"mx: *.example.co.uk\n", "mx.example.co.uk", true, "any number of labels after the asterisk"},
		{"mx: localhost\n", "localhost", true, "a name of one label"},
		{"mx: localhost\n", "a.localhost", false, "no asterisk, no wildcard"},
		{"mx: *.test\n", "mail.test", true, "one label for the asterisk"},
		{"mx: *.test\n", "a.mail.test", false, "not two"},
		{"mx: *.test\n", "test", false, "not none"},
		{"mx: 192.0.2.1\n", "192.0.2.1", true, "a name of digits"},
		{"mx: a.example.com\nmx: *.example.net\nmx: b.example.com\n", "b.example.com", true, "any of the patterns"},
		{"mx: a.example.com\nmx: *.example.net\nmx: b.example.com\n", "c.example.net", true, "any of the patterns"},
		{"mx: a.example.com\nmx: *.example.net\nmx: b.example.com\n", "c.example.com", false, "none of the patterns"},
	}
	for _, tt := range tests {
		p, err := ParsePolicy([]byte(head + tt.mx))
		if err != nil {
			t.Errorf("%s: %v", tt.why, err)
			continue
		}
		if got := p.Matches(mustHost(t, tt.host)); got != tt.want {
			t.Errorf("%s: %q matches %s: %v, want %v", tt.why, tt.mx, tt.host, got, tt.want)
		}
		if p.Matches(dnsname.Name{}) {
			t.Errorf("%q matches no name", tt.mx)
		}
	}
	if (Policy{Mode: ModeNone}).Matches(dnsname.MustParse("mail.example.com")) {
		t.Error("a policy without patterns matches")
	}
	if (Pattern{}).Matches(dnsname.Name{}) {
		t.Error("the zero Pattern matches the zero Name")
	}
}

func mustHost(t *testing.T, s string) dnsname.Name {
	t.Helper()
	name, err := dnsname.ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestModeText(t *testing.T) {
	for mode, text := range map[Mode]string{ModeEnforce: `"enforce"`, ModeTesting: `"testing"`, ModeNone: `"none"`} {
		got, err := json.Marshal(mode)
		if err != nil || string(got) != text {
			t.Errorf("JSON of mode %v is %s, %v, want %s", mode, got, err, text)
		}
		var back Mode
		if err := json.Unmarshal([]byte(text), &back); err != nil || back != mode {
			t.Errorf("JSON %s gives mode %v, %v", text, back, err)
		}
	}
	for _, mode := range []Mode{0, ModeNone + 1} {
		if text, err := mode.MarshalText(); err == nil {
			t.Errorf("mode %d, which is none, is written %q", uint8(mode), text)
		}
		if got := mode.String(); got != "invalid" {
			t.Errorf("mode %d, which is none, is called %q", uint8(mode), got)
		}
	}
	for _, text := range []string{"", "Enforce", "report", "enforce ", "invalid"} {
		mode := ModeTesting
		err := mode.UnmarshalText([]byte(text))
		if bad := (*SyntaxError)(nil); !errors.As(err, &bad) || mode != ModeTesting {
			t.Errorf("UnmarshalText(%q) gives %v, error %v", text, mode, err)
		}
	}
}
