package mtasts

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// checkText checks that an error's text is short and printable.
func checkText(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 512 {
		t.Errorf("error text of %d bytes", len(err.Error()))
	}
	for _, r := range err.Error() {
		if !unicode.IsPrint(r) {
			t.Errorf("error text has %U: %q", r, err.Error())
		}
	}
}

func checkRecordError(t *testing.T, rec Record, err error) {
	t.Helper()
	checkText(t, err)
	var bad *SyntaxError
	if !errors.Is(err, ErrNoRecord) && !errors.Is(err, ErrMultipleRecords) && !errors.As(err, &bad) {
		t.Errorf("error is %T: %v", err, err)
	}
	if bad != nil && bad.Line != 0 {
		t.Errorf("a record has no line %d", bad.Line)
	}
	if rec != (Record{}) {
		t.Errorf("record %q beside the error %v", rec, err)
	}
}

func checkPolicyError(t *testing.T, p Policy, err error) {
	t.Helper()
	checkText(t, err)
	var bad *SyntaxError
	if !errors.As(err, &bad) {
		t.Errorf("error is %T: %v", err, err)
	}
	if !reflect.DeepEqual(p, Policy{}) {
		t.Errorf("policy %v beside the error %v", p, err)
	}
}

// checkPolicy checks what holds for every valid policy.
func checkPolicy(t *testing.T, p Policy) {
	t.Helper()
	if p.MaxAge < 0 || p.MaxAge > 31557600*time.Second || p.MaxAge%time.Second != 0 {
		t.Errorf("max_age %v", p.MaxAge)
	}
	if p.Mode != ModeEnforce && p.Mode != ModeTesting && p.Mode != ModeNone {
		t.Errorf("mode %d", p.Mode)
	}
	if len(p.MX()) == 0 && p.Mode != ModeNone {
		t.Errorf("mode %v without patterns", p.Mode)
	}
	for _, pattern := range p.MX() {
		checkPattern(t, p, pattern)
	}
	if !utf8.ValidString(p.Text) || len(p.Text) > 64<<10 {
		t.Errorf("Text of %d bytes, valid UTF-8: %v", len(p.Text), utf8.ValidString(p.Text))
	}
	for _, line := range p.Lines() {
		if strings.TrimSpace(line) == "" ||
			strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("Lines() has %q", line)
		}
	}
	again, err := ParsePolicy([]byte(p.Text))
	if err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("the policy's own text gives %v, %v, want %v", again, err, p)
	}
	again, err = ParsePolicy([]byte(strings.Join(p.Lines(), "\r\n")))
	again.Text = p.Text
	if err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("the policy's lines give %v, %v, want %v", again, err, p)
	}
}

func checkPattern(t *testing.T, p Policy, pattern Pattern) {
	t.Helper()
	s := pattern.String()
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-*") != "" || strings.LastIndexByte(s, '*') > 0 {
		t.Errorf("pattern %q is not safe in a reply", s)
	}
	if strings.HasPrefix(s, "*") != pattern.Wildcard || strings.HasPrefix(s, "*.") != pattern.Wildcard {
		t.Errorf("pattern %q, wildcard: %v", s, pattern.Wildcard)
	}
	if !pattern.Wildcard {
		if !p.Matches(pattern.Host) {
			t.Errorf("%s does not match itself", pattern.Host)
		}
		return
	}
	if below, err := dnsname.Parse("x." + pattern.Host.String()); err == nil && !p.Matches(below) {
		t.Errorf("%s does not match %s", s, below)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, tt := range goodRecords {
		f.Add(strings.Join(tt.txts, "\n"))
	}
	for _, tt := range badRecords {
		f.Add(strings.Join(tt.txts, "\n"))
	}
	f.Fuzz(func(t *testing.T, in string) {
		txts := strings.Split(in, "\n")
		rec, err := ParseRecord(txts)
		if err != nil {
			checkRecordError(t, rec, err)
			return
		}
		again, err := ParseRecord([]string{"v=STSv1; id=" + rec.ID + ";"})
		if err != nil || again != rec {
			t.Errorf("ParseRecord(%q) gives the id %q, which parses to %v, %v", txts, rec.ID, again, err)
		}
		if _, err := ParseRecord(append(txts, "v=STSv1; id=x")); !errors.Is(err, ErrMultipleRecords) {
			t.Errorf("ParseRecord(%q) and one more: error %v", txts, err)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, tt := range goodPolicies {
		if len(tt.body) < 4096 { // longer ones only slow the fuzzer down
			f.Add([]byte(tt.body))
		}
	}
	for _, tt := range badPolicies {
		if len(tt.body) < 4096 { // longer ones only slow the fuzzer down
			f.Add([]byte(tt.body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ParsePolicy(body)
		if err != nil {
			checkPolicyError(t, p, err)
			return
		}
		if p.Text != string(body) {
			t.Errorf("Text is %q, want the body %q", p.Text, body)
		}
		checkPolicy(t, p)
	})
}
