package dnsname

import (
	"encoding"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var (
	_ encoding.TextMarshaler   = Name{}
	_ encoding.TextUnmarshaler = (*Name)(nil)
)

const (
	label63 = "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz"
	name253 = label63 + "." + label63 + "." + label63 + ".abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"
)

var goodNames = []struct{ in, want, why string }{
	{"example.com", "example.com", "two labels are enough"},
	{"mx-1.mail.example.com", "mx-1.mail.example.com", "inner hyphens"},
	{"3com.com", "3com.com", "RFC 1123 2.1: a label may begin with a digit"},
	{"1.2.3.example.com", "1.2.3.example.com", "numbers before the last label"},
	{"4.in-addr.arpa", "4.in-addr.arpa", "a number first is no address"},
	{"example.0xample", "example.0xample", "0x, but no hexadecimal number after it"},
	{"EXAMPLE.Com", "example.com", "RFC 4343: case does not matter"},
	{"example.com.", "example.com", "RFC 1034 3.1: the final dot is the root"},
	{"Example.COM.", "example.com", "both at once"},
	{"r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com", "hyphens in the third and fourth place, no A-label"},
	{"ab--cd.example.com", "ab--cd.example.com", "the same with another prefix"},
	{"axn--b.example.com", "axn--b.example.com", "xn-- inside a label means nothing"},
	{label63 + ".com", label63 + ".com", "RFC 1035 2.3.4: 63 octets"},
	{name253, name253, "RFC 1035 2.3.4: 255 octets on the wire"},
	{name253 + ".", name253, "the final dot is not counted"},

	{"bücher.example", "xn--bcher-kva.example", "U-label (RFC 5891 4.4)"},
	{"BÜCHER.Example.", "xn--bcher-kva.example", "U-labels are case-folded (UTS 46)"},
	{"bu\u0308cher.example", "xn--bcher-kva.example", "and normalized (NFC)"},
	{"faß.example", "xn--fa-hia.example", "non-transitional: ß stays ß"},
	{"例え。テスト", "xn--r8jz45g.xn--zckzah", "U+3002 is a dot (UTS 46)"},
	{"例え．テスト", "xn--r8jz45g.xn--zckzah", "U+FF0E is a dot"},
	{"例え｡テスト", "xn--r8jz45g.xn--zckzah", "U+FF61 is a dot"},
	{"bücher.example。", "xn--bcher-kva.example", "an ideographic dot as the final one"},
	{"ｅｘａｍｐｌｅ．ｃｏｍ", "example.com", "full-width letters"},
	{"exam\u00adple.com", "example.com", "the soft hyphen is ignored"},
	{"\u212aelvin.example", "kelvin.example", "KELVIN SIGN folds to k"},
	{"☃.example", "xn--n3h.example", "symbols are allowed by UTS 46"},
	{"1א.example", "xn--1-0hc.example", "fails the Bidi rule, but Postfix delivers to it"},
	{"-bücher.example", "xn---bcher-4ya.example", "hyphens are checked on the A-label"},
	{"xn--bcher-kva.example", "xn--bcher-kva.example", "an A-label stays as it is"},
	{"XN--BCHER-KVA.example.", "xn--bcher-kva.example", "A-labels in upper case"},
	{"bücher.xn--bcher-kva.example", "xn--bcher-kva.xn--bcher-kva.example", "both kinds in one name"},

	{"xn--b39h.example", "xn--b39h.example", "an A-label of a newer Unicode than Go's tables have"},
	{"xn--8g0n.example", "xn--8g0n.example", "another"},
	{"mail.xn--1ugz855pfha", "mail.xn--1ugz855pfha", "a top-level domain"},
	{"MX.XN--QEI9934E.example.", "mx.xn--qei9934e.example", "in upper case"},
	{"bücher.xn--b39h.example", "xn--bcher-kva.xn--b39h.example", "beside a U-label"},
	{"xn--a.example", "xn--a.example", "an A-label of a control character: ASCII is taken as it is"},
	{"xn--9999999999.example", "xn--9999999999.example", "no Punycode"},
	{"xn--bcher-2pa.example", "xn--bcher-2pa.example", "an A-label of a capital: another name than bücher to the DNS"},
}

var badNames = []struct{ in, msg, why string }{
	{"", "empty", "no text"},
	{".", "empty", "the root"},
	{"com", "only one label", "a top-level domain"},
	{"localhost.", "only one label", "the final dot makes no label"},
	{"bücher", "only one label", "one U-label"},
	{"example..com", "empty label", "RFC 1035 2.3.1"},
	{".example.com", "empty label", "Postfix's question for a parent domain"},
	{"example.com..", "empty label", "only one final dot"},
	{"bücher.example。.", "empty label", "only one final dot of any kind"},
	{"。bücher.example", "empty label", "an ideographic dot at the start"},

	{"_mta-sts.example.com", `'_'`, "RFC 1123 2.1: no underscore"},
	{"exa mple.com", `' '`, "space"},
	{" example.com", `' '`, "leading space"},
	{"example.com\n", `'\n'`, "line end"},
	{"exam\x00ple.com", `'\x00'`, "NUL"},
	{"exam\x7fple.com", `'\x7f'`, "DEL"},
	{"*.example.com", `'*'`, "a pattern is not a name"},
	{"mail.example.com:587", `':'`, "port"},
	{"[mail.example.com]", `'['`, "Postfix's brackets"},
	{"mail.example.com,mx.example.com", `','`, "list"},
	{"{mail.example.com}", `'{'`, "brace"},
	{"mail.example.com servername=x", `' '`, "an attribute of a Postfix reply"},
	{"user@example.com", `'@'`, "mail address"},
	{"/var/spool/socket", `'/'`, "path"},
	{"-a.example.com", "hyphen", "RFC 1123 2.1: leading hyphen"},
	{"a-.example.com", "hyphen", "trailing hyphen"},
	{label63 + "x.com", "64 octets", "RFC 1035 2.3.4: label"},
	{name253 + "x", "254 octets", "RFC 1035 2.3.4: name"},
	{strings.Repeat("a.", 5000) + "com", "10003 bytes", "Postfix's longest key: refused unread"},

	{"192.0.2.1", "a number", "IPv4 address"},
	{"192.0.2.1.", "a number", "IPv4 address with a final dot"},
	{"127.1", "a number", "short IPv4 address"},
	{"1.2.3.0x4", "a number", "hexadecimal IPv4 address"},
	{"0X7F.0X", "a number", "hexadecimal without digits, as some parsers take it"},
	{"example.123", "a number", "RFC 3696 2: no top-level domain is a number"},
	{"１９２.０.２.１", "a number", "full-width digits make an address too"},
	{"2001:db8::1", `':'`, "IPv6 address"},
	{"::ffff:192.0.2.1", `':'`, "mapped IPv4 address"},

	{"ex\xffample.com", "UTF-8", "not UTF-8"},
	{"b\xfccher.example", "UTF-8", "Latin-1"},
	{"bücher .example", "UTS 46", "space beside a U-label"},
	{"bücher_.example", "UTS 46", "underscore beside a U-label"},
	{"bü\u0085cher.example", "UTS 46", "C1 control character"},
	{"bü\u202echer.example", "UTS 46", "right-to-left override"},
	{"\u0308bu.example", "UTS 46", "begins with a combining mark"},
	{strings.Repeat("ü", 60) + ".example", "label", "too long as an A-label"},
	{strings.Repeat("büro.", 40) + "example", "more than 253", "too long as A-labels"},
	{"xn--abc-.example", "hyphen", "A-label of plain ASCII"},
	{"xn--bücher.example", "UTS 46", "half A-label, half U-label"},
	{"bücher.xn--b39h_.example", "'_'", "underscore in a newer A-label beside a U-label"},
}

func TestParse(t *testing.T) {
	for _, tt := range goodNames {
		n, err := Parse(tt.in)
		if err != nil || n.String() != tt.want {
			t.Errorf("%s: Parse(%q) = %q, %v, want %q", tt.why, tt.in, n, err, tt.want)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for _, tt := range badNames {
		n, err := Parse(tt.in)
		if err == nil {
			t.Errorf("%s: Parse(%q) = %q, want an error", tt.why, tt.in, n)
			continue
		}
		checkError(t, tt.in, n, err)
		if bad := (*Error)(nil); errors.As(err, &bad) && !strings.Contains(bad.Msg, tt.msg) {
			t.Errorf("%s: Parse(%q): message %q, want one with %q", tt.why, tt.in, bad.Msg, tt.msg)
		}
	}
}

// TestParseCanonicalDoesNotAllocate: each question of Postfix parses a name.
func TestParseCanonicalDoesNotAllocate(t *testing.T) {
	for _, in := range []string{"example.com", "mx1.mail.example.co.uk", "xn--b39h.example", name253} {
		allocs := testing.AllocsPerRun(100, func() {
			if n, err := Parse(in); err != nil || n.String() != in {
				t.Errorf("Parse(%q) = %q, %v", in, n, err)
			}
		})
		if allocs != 0 {
			t.Errorf("Parse(%q) allocates %v times", in, allocs)
		}
	}
}

func TestErrorCutsTheInput(t *testing.T) {
	tests := []struct{ in, kept, text, why string }{
		{"\r\n" + strings.Repeat("é", 5000), "\r\n" + strings.Repeat("é", 31),
			`"\r\n` + strings.Repeat("é", 31) + `" is no host name: it is 10002 bytes long`, "64 bytes"},
		{"\n" + strings.Repeat("é", 5000), "\n" + strings.Repeat("é", 31),
			`"\n` + strings.Repeat("é", 31) + `" is no host name: it is 10001 bytes long`,
			"63 bytes: not cut inside a rune"},
		{strings.Repeat("\x80", 100), strings.Repeat("\x80", 60),
			`"` + strings.Repeat(`\x80`, 60) + `" is no host name: it is not valid UTF-8`, "not UTF-8"},
	}
	for _, tt := range tests {
		_, err := Parse(tt.in)
		var bad *Error
		if !errors.As(err, &bad) {
			t.Fatalf("%s: error is %T, want *Error", tt.why, err)
		}
		if bad.Input != tt.kept {
			t.Errorf("%s: Input = %q, want %q", tt.why, bad.Input, tt.kept)
		}
		if err.Error() != tt.text {
			t.Errorf("%s: error text\n%s, want\n%s", tt.why, err, tt.text)
		}
	}
}

func TestMustParse(t *testing.T) {
	if got := MustParse("Example.com.").String(); got != "example.com" {
		t.Errorf("MustParse = %q", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse of an address did not panic")
		}
	}()
	MustParse("192.0.2.1")
}

func TestParent(t *testing.T) {
	tests := []struct{ name, parent, why string }{
		{"a.b.example.com", "b.example.com", "one label less"},
		{"mx.example.com", "example.com", "two labels left"},
		{"example.com", "", "one label would be left, which is not a Name"},
	}
	for _, tt := range tests {
		parent, ok := MustParse(tt.name).Parent()
		if parent.String() != tt.parent || ok != (tt.parent != "") {
			t.Errorf("%s: parent of %s = %q, %v", tt.why, tt.name, parent, ok)
		}
	}
	if parent, ok := (Name{}).Parent(); ok || !parent.IsZero() {
		t.Errorf("parent of the zero Name = %q, %v", parent, ok)
	}
}

func TestText(t *testing.T) {
	type entry struct {
		Domain Name
		Other  Name
		Seen   map[Name]int
	}
	in := entry{Domain: MustParse("bücher.example"), Seen: map[Name]int{MustParse("example.com"): 1}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Domain":"xn--bcher-kva.example","Other":"","Seen":{"example.com":1}}`; string(text) != want {
		t.Errorf("JSON %s, want %s", text, want)
	}
	var out entry
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if out.Domain != in.Domain || !out.Other.IsZero() || out.Seen[MustParse("example.com")] != 1 {
		t.Errorf("JSON round trip gives %+v, want %+v", out, in)
	}
	err = out.Domain.UnmarshalText([]byte("not a name"))
	if bad := (*Error)(nil); !errors.As(err, &bad) {
		t.Errorf("UnmarshalText of no name: error %v, want *Error", err)
	}
	if out.Domain != in.Domain {
		t.Errorf("a failed UnmarshalText left %q", out.Domain)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, in := range []string{
		"mx1.mail.example.com", "MX1.Mail.Example.com.", "xn--bcher-kva.example", "bücher.example"} {
		b.Run(in, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestParseHost: RFC 5321's Domain (section 4.1.2) has more names than policy domains do.
func TestParseHost(t *testing.T) {
	for _, c := range []struct{ in, want, why string }{
		{"mail.example.com", "mail.example.com", "what Parse accepts"},
		{"Bücher.example.", "xn--bcher-kva.example", "in any form"},
		{"localhost", "localhost", "one label"},
		{"MX1.", "mx1", "one label with a final dot"},
		{"test", "test", "a top-level domain"},
		{"192.0.2.1", "192.0.2.1", "digits alone"},
		{"mail.0x10", "mail.0x10", "a number as the last label"},
		{"", "", "no name"},
		{".", "", "the root"},
		{"a..b", "", "an empty label"},
		{"mail_1.example.com", "", "an underscore"},
		{"-a", "", "a hyphen first"},
		{"[192.0.2.1]", "", "an address literal is no Domain"},
		{"2001:db8::1", "", "nor is an IPv6 address"},
	} {
		n, err := ParseHost(c.in)
		if n.String() != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q is %q, %v; want %q", c.why, c.in, n, err, c.want)
		}
	}
}
