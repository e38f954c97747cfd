package dnsname

import (
	"errors"
	"strings"
	"testing"
	"unicode"
)

// checkError checks what holds for every error of Parse.
func checkError(t *testing.T, in string, n Name, err error) {
	t.Helper()
	var bad *Error
	if !errors.As(err, &bad) {
		t.Fatalf("Parse(%q): error is %T, want *Error", in, err)
	}
	if !n.IsZero() {
		t.Errorf("Parse(%q) gives %q beside the error %v", in, n, err)
	}
	if len(bad.Input) > maxQuote || !strings.HasPrefix(in, bad.Input) {
		t.Errorf("Parse(%q): Input is %q", in, bad.Input)
	}
	if len(bad.Msg) > 256 {
		t.Errorf("Parse(%q): message of %d bytes", in, len(bad.Msg))
	}
	for _, r := range err.Error() {
		if !unicode.IsPrint(r) {
			t.Errorf("Parse(%q): error text has %U: %q", in, r, err.Error())
		}
	}
}

// checkName checks the grammar of a name in another way than the parser.
func checkName(t *testing.T, s string) {
	t.Helper()
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || s != strings.ToLower(s) || len(s) > 253 {
		t.Errorf("%q is not a lower-case name of LDH labels", s)
	}
	labels := strings.Split(s, ".")
	if len(labels) < 2 {
		t.Errorf("%q has fewer than two labels", s)
	}
	for _, label := range labels {
		if len(label) < 1 || len(label) > 63 || strings.Trim(label, "-") != label {
			t.Errorf("%q has the label %q", s, label)
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		t.Errorf("%q ends in a number", s)
	}
}

func FuzzParseName(f *testing.F) {
	for _, tt := range goodNames {
		f.Add(tt.in)
	}
	for _, tt := range badNames {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		n, err := Parse(in)
		if err != nil {
			checkError(t, in, n, err)
			return
		}
		checkName(t, n.String())
		again, err := Parse(n.String())
		if err != nil || again != n {
			t.Errorf("Parse(%q) = %q, which parses to %q, %v", in, n, again, err)
		}
		dotted, err := Parse(strings.ToUpper(n.String()) + ".")
		if err != nil || dotted != n {
			t.Errorf("%q in upper case and with a final dot parses to %q, %v", n, dotted, err)
		}
		if parent, ok := n.Parent(); ok {
			checkName(t, parent.String())
			if p, err := Parse(parent.String()); err != nil || p != parent {
				t.Errorf("parent %q of %q parses to %q, %v", parent, n, p, err)
			}
		}
	})
}
