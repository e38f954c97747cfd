package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// head is the beginning of most policies below.
const head = "version: STSv1\nmode: enforce\nmax_age: 604800\n"

var goodPolicies = []struct {
	body string
	mode Mode
	mx   string // the patterns, joined by spaces
	age  int    // seconds
	why  string
}{
	{"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: " +
		"604800\n",
		ModeEnforce, "mail.example.com *.example.net backupmx.example.com", 604800,
		"the form of RFC 8461 3.2; the order of patterns is kept"},
	{"version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 86400\r\n", ModeTesting, "mx.example.com",
		86400, "erratum 6253: CRLF"},
	{"version: STSv1\r\nmode: testing\nmx: mx.example.com\r\nmax_age: 86400", ModeTesting, "mx.example.com", 86400,
		"both line ends, none at the end"},
	{"version: STSv1\nmode: none\nmax_age: 86400\n", ModeNone, "", 86400, "3.2: mode none needs no mx"},
	{"version: STSv1\nmode: none\nmx: mx.example.com\nmax_age: 86400\n", ModeNone, "mx.example.com", 86400,
		"3.2: and may have it"},
	{"mx: b.example.com\nmax_age: 1\nmx: a.example.com\nmode: enforce\nversion: STSv1\n", ModeEnforce,
		"b.example.com a.example.com", 1, "3.2: any order"},
	{"\n \t\r\n" + head + "\n\nmx: mx.example.com  \t\r\n\n", ModeEnforce, "mx.example.com", 604800,
		"blank lines and spaces at line ends"},
	{"version:STSv1\nmode:\tenforce\nmax_age: \t 5\nmx:mx.example.com", ModeEnforce, "mx.example.com", 5,
		"3.2: any white space after the colon, or none"},
	{head + "mx: mx.example.com\nx-note_1.a: any {text}: with, signs; and ünïcode\n0: y", ModeEnforce,
		"mx.example.com", 604800, "3.2: unknown fields"},
	{head + "mx: mx.example.com\n" + strings.Repeat("n", 32) + ": v\n", ModeEnforce, "mx.example.com", 604800,
		"3.2: a name of 32 characters"},
	{head + "mx: mx.example.com\nMX: not a host\nMode: x\n", ModeEnforce, "mx.example.com", 604800,
		"3.2: %s, names have a case: these are unknown"},
	{head + "mx: mx.example.com\nmode: none\nmax_age: x\nversion: STSv2\n", ModeEnforce, "mx.example.com", 604800,
		"3.2: of a repeated field the first counts"},
	{head + "mx: mx.example.com\nmx: mx.example.com\n", ModeEnforce, "mx.example.com mx.example.com", 604800,
		"the same mx twice is kept as served"},
	{head + "mx: xn--b39h.example\nmx: *.XN--8G0N.example\n", ModeEnforce, "xn--b39h.example *.xn--8g0n.example",
		604800, "A-labels of a newer Unicode than Go's tables have"},
	{head + "mx: MX.Example.COM.\nmx: *.BÜCHER.example\n", ModeEnforce, "mx.example.com *.xn--bcher-kva.example",
		604800, "any spelling of a host name"},
	{head + "mx: mail.example.com\nmx: localhost\n", ModeEnforce, "mail.example.com localhost", 604800,
		"RFC 5321 4.1.2: a Domain may have one label; the other pattern protects the domain"},
	{head + "mx: *.test\n", ModeEnforce, "*.test", 604800, "and so may what follows the asterisk"},
	{head + "mx: com\nmx: *.com\n", ModeEnforce, "com *.com", 604800, "also that of a top-level domain"},
	{head + "mx: 192.0.2.1\nmx: *.0.2.1\n", ModeEnforce, "192.0.2.1 *.0.2.1", 604800,
		"RFC 5321 4.1.2: sub-domains may consist of digits, so that addresses are names too"},
	{"version: STSv1\nmode: none\nmx: mx1\nmax_age: 86400\n", ModeNone, "mx1", 86400, "8.3: mode none is honoured"},
	{"version: STSv1\nmode: none\nmax_age: 0\n", ModeNone, "", 0, "3.2: zero is a number of seconds"},
	{"version: STSv1\nmode: none\nmax_age: 0000000007\n", ModeNone, "", 7, "3.2: ten digits"},
	{"version: STSv1\nmode: none\nmax_age: 31557600\n", ModeNone, "", 31557600, "3.2: one year"},
	{"version: STSv1\nmode: none\nmax_age: 31557601\n", ModeNone, "", 31557600, "3.2: more than a year is capped"},
	{"version: STSv1\nmode: none\nmax_age: 9999999999\n", ModeNone, "", 31557600,
		"erratum 7282: ten digits are capped too"},
	{head + "mx: mx.example.com\n" + strings.Repeat("\n", maxBody-len(head)-len("mx: mx.example.com\n")), ModeEnforce,
		"mx.example.com", 604800, "3.3: 64 KiB"},
}

var badPolicies = []struct {
	body string
	line int
	msg  string
	why  string
}{
	{"", 0, "no version", "an empty body"},
	{"\n\r\n \n", 0, "no version", "only blank lines"},
	{"mode: enforce\nmax_age: 1\nmx: a.example.com\n", 0, "no version", "3.2: version is required"},
	{"Version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.example.com\n", 0, "no version", "3.2: %s, names have a case"},
	{"version: STSv1\nmax_age: 1\nmx: a.example.com\n", 0, "no mode", "3.2: mode is required"},
	{"version: STSv1\nmode: enforce\nmx: a.example.com\n", 0, "no max_age", "3.2: max_age is required"},
	{head, 0, "no mx field, which mode enforce needs", "3.2: enforce needs an mx"},
	{"version: STSv1\nmode: testing\nmax_age: 1\n", 0, "no mx field, which mode testing needs", "3.2: so does testing"},
	{head + "mx: a.example.com\n" + strings.Repeat("\n", maxBody), 0, "65599 bytes long", "3.3: more than 64 KiB"},

	{"version: STSv2\n", 1, `version is "STSv2"`, "3.2: the only version"},
	{"version: stsv1\n", 1, `version is "stsv1"`, "3.2: %s, it has a case"},
	{"version: STSv2\nversion: STSv1\n", 1, `version is "STSv2"`, "3.2: the first counts"},
	{"v=STSv1; id=x\n", 1, "no colon", "the record in the policy's place"},
	{"<!DOCTYPE html>\n<html>", 1, "no colon", "a web page"},
	{"\ufeffversion: STSv1\n", 1, `"\ufeffversion" is no field name`, "a byte order mark"},
	{"version: STSv1\nmode: Enforce\n", 2, `mode is "Enforce", not enforce`, "3.2: %s, modes have a case"},
	{"version: STSv1\nmode: report\n", 2, `mode is "report"`, "a mode of an early draft"},
	{"version: STSv1\nmode: enforce none\n", 2, `mode is "enforce none"`, "one mode"},
	{"version: STSv1\n\nmode: enforce\nmode\n", 4, `"mode" has no colon`, "3.2: blank lines are counted"},
	{"version: STSv1\nmode:\n", 2, `"mode" is empty`, "3.2: a value is not empty"},
	{"version: STSv1\nmax_age: -1\n", 2, `max_age is "-1"`, "3.2: digits only"},
	{"version: STSv1\nmax_age: +1\n", 2, `max_age is "+1"`, "3.2: digits only"},
	{"version: STSv1\nmax_age: 1_000\n", 2, `max_age is "1_000"`, "3.2: digits only"},
	{"version: STSv1\nmax_age: 0x10\n", 2, `max_age is "0x10"`, "3.2: digits only"},
	{"version: STSv1\nmax_age: 86400s\n", 2, `max_age is "86400s"`, "3.2: digits only"},
	{"version: STSv1\nmax_age: 1.5\n", 2, `max_age is "1.5"`, "3.2: digits only"},
	{"version: STSv1\nmax_age: ١٢\n", 2, `max_age is "١٢"`, "3.2: ASCII digits only"},
	{"version: STSv1\nmax_age: 00000000001\n", 2, "1 to 10 digits", "3.2: eleven digits"},
	{"version: STSv1\nmax_age: 99999999999999999999999\n", 2, "1 to 10 digits", "more than fits"},

	{head + " mx: a.example.com\n", 4, `" mx" is no field name`, "3.2: no white space before a name"},
	{head + "mx : a.example.com\n", 4, `"mx " is no field name`, "3.2: nor before the colon"},
	{head + ": a\n", 4, `"" is no field name`, "3.2: a name is not empty"},
	{head + "-x: a\n", 4, `"-x" is no field name`, "3.2: a name begins with a letter or digit"},
	{head + "é: a\n", 4, `"é" is no field name`, "3.2: names are ASCII"},
	{head + strings.Repeat("n", 33) + ": a\n", 4, "is no field name", "3.2: a name has 32 characters at most"},
	{head + "x:\n", 4, `"x" is empty`, "3.2: the value of an unknown field, too"},
	{head + "x: a\tb\n", 4, "control character", "3.2: no tab within a value"},
	{head + "x: a\x00b\n", 4, "control character", "3.2: no NUL"},
	{head + "x: a\x1b[2Jb\n", 4, "control character", "3.2: no escape sequence"},
	{head + "x: a\x7f\n", 4, "control character", "3.2: no DEL"},
	{head + "x: a\rmx: b.example.com\n", 4, "control character", "erratum 6253: CR alone ends no line"},
	{head + "x: a\r\r\n", 4, "control character", "erratum 6253: one CR before LF"},
	{head + "x: a\r", 4, "control character", "erratum 6253: CR alone at the end"},
	{head + "x: \xff\n", 4, "UTF-8", "3.2: values are UTF-8"},
	{head + "x: \xed\xa0\x80\n", 4, "UTF-8", "RFC 3629 3: no surrogates"},
	{head + "x: \xc0\xaf\n", 4, "UTF-8", "RFC 3629 3: no overlong forms"},

	{head + "mx: \n", 4, `"mx" is empty`, "3.2: an mx is a host name"},
	{head + "mx: *\n", 4, `"*" is neither`, "all hosts"},
	{head + "mx: *.\n", 4, `"*." is neither`, "nothing after the asterisk"},
	{head + "mx: .example.com\n", 4, "empty label", "the form of early drafts, and of Postfix"},
	{head + "mx: **.example.com\n", 4, `'*'`, "4.1: one asterisk"},
	{head + "mx: *.*.example.com\n", 4, `'*'`, "4.1: only as the left-most label"},
	{head + "mx: mx*.example.com\n", 4, `'*'`, "4.1: only as a whole label"},
	{head + "mx: mail.*.example.com\n", 4, `'*'`, "4.1: only as the left-most label"},
	{head + "mx: [192.0.2.1]\n", 4, `'['`, "an address literal"},
	{head + "mx: 2001:db8::1\n", 4, `':'`, "an IPv6 address"},
	{head + "mx: mail.example.com:25\n", 4, `':'`, "a port"},
	{head + "mx: mail.example.com servername=x\n", 4, `' '`, "an attribute for Postfix"},
	{head + "mx: mail.example.com, mx.example.com\n", 4, `','`, "a list"},
	{head + "mx: {mail.example.com}\n", 4, `'{'`, "braces"},
	{head + "mx: mail.example.com; x\n", 4, `';'`, "a record's separator"},
	{head + "mx: 10 mail.example.com\n", 4, `' '`, "an MX record's preference"},
	{head + "mx: mail_1.example.com\n", 4, `'_'`, "an underscore"},
	{head + "mx: bü\u202echer.example\n", 4, "UTS 46", "right-to-left override"},
	{"version: STSv1\nmode: none\nmax_age: 1\nmx: no host\n", 4, `' '`,
		"mode none needs no mx, but what it has is one"},
}

func TestParsePolicy(t *testing.T) {
	for _, tt := range goodPolicies {
		p, err := ParsePolicy([]byte(tt.body))
		if err != nil {
			t.Errorf("%s: error %v", tt.why, err)
			continue
		}
		if p.Mode != tt.mode || patterns(p) != tt.mx || p.MaxAge != time.Duration(tt.age)*time.Second {
			t.Errorf("%s: got %v, %s, %v, want %v, %s, %d s", tt.why, p.Mode, patterns(p), p.MaxAge, tt.mode, tt.mx,
				tt.age)
		}
		if p.Text != tt.body {
			t.Errorf("%s: Text = %q, want the body as served", tt.why, p.Text)
		}
		checkPolicy(t, p)
	}
}

func TestParsePolicyRejects(t *testing.T) {
	for _, tt := range badPolicies {
		p, err := ParsePolicy([]byte(tt.body))
		if err == nil {
			t.Errorf("%s: %q: no error", tt.why, tt.body)
			continue
		}
		checkPolicyError(t, p, err)
		if bad := (*SyntaxError)(nil); errors.As(err, &bad) &&
			(bad.Line != tt.line || !strings.Contains(bad.Msg, tt.msg)) {
			t.Errorf("%s: error in line %d: %s; want line %d, %q", tt.why, bad.Line, bad.Msg, tt.line, tt.msg)
		}
	}
}

func TestSyntaxErrorText(t *testing.T) {
	tests := []struct{ body, text, why string }{
		{"version: STSv1\nmode: \"" + strings.Repeat("é", 1000) + "\n",
			`line 2: mode is "\"` + strings.Repeat("é", 23) + `"…, not enforce, testing or none`,
			"cut between two runes"},
		{"\n" + strings.Repeat("\x80", 1000),
			`line 2: "` + strings.Repeat(`\x80`, 44) + `"… has no colon between a name and a value`,
			"not UTF-8"},
		{"", "the policy has no version field", "no line to name"},
	}
	for _, tt := range tests {
		if _, err := ParsePolicy([]byte(tt.body)); err == nil || err.Error() != tt.text {
			t.Errorf("%s: error text\n%v, want\n%s", tt.why, err, tt.text)
		}
	}
}

func TestPolicyLines(t *testing.T) {
	p, err := ParsePolicy([]byte("\r\nversion: STSv1 \t\r\n\nx: {a  b}\nmode:\t none\n \nmax_age: 1"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"version: STSv1", "x: {a  b}", "mode:  none", "max_age: 1"}
	if got := p.Lines(); !slices.Equal(got, want) {
		t.Errorf("Lines() = %q, want %q", got, want)
	}
	if got := (Policy{}).Lines(); len(got) != 0 {
		t.Errorf("the zero Policy has lines %q", got)
	}
}

func patterns(p Policy) string {
	var all []string
	for _, pattern := range p.MX() {
		all = append(all, pattern.String())
	}
	return strings.Join(all, " ")
}

func BenchmarkParsePolicy(b *testing.B) {
	body := []byte("version: STSv1\nmode: enforce\nmx: mx1.example.com\nmx: *.mail.example.net\nmax_age: 604800\n")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePolicy(body); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEnforcing(t *testing.T) {
	var mx []Pattern
	for _, s := range []string{"mail.partner.test", "*.example.com", "localhost"} {
		p, err := ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		mx = append(mx, p)
	}
	p := Enforcing(mx)
	parsed, err := ParsePolicy([]byte(p.Text))
	if err != nil || parsed != p || p.Mode != ModeEnforce || !slices.Equal(p.MX(), mx) {
		t.Errorf("%+v, parsed %+v %v", p, parsed, err)
	}
}

// TestMXOfOddTexts: the patterns are found wherever ParsePolicy accepts them.
func TestMXOfOddTexts(t *testing.T) {
	text := "mx:A.test\r\nversion: STSv1\nmode: enforce\nmax_age: 1\nmx: \t*.B.test. \t\r\n\nmx-x: c.test\n" +
		"mx: bücher.test"
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.MX()); got != "[a.test *.b.test xn--bcher-kva.test]" {
		t.Error(got)
	}
	if none, err := ParsePolicy([]byte("version: STSv1\nmode: none\nmax_age: 1\n")); err != nil || len(none.MX()) > 0 {
		t.Error(none.MX(), err)
	}
}
