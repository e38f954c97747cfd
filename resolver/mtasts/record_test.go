package mtasts

import (
	"errors"
	"strings"
	"testing"
)

var goodRecords = []struct {
	txts []string
	id   string
	why  string
}{
	{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z", "the form of RFC 8461 3.1"},
	{[]string{"v=STSv1;id=1"}, "1", "no white space, no last semicolon"},
	{[]string{"v=STSv1 \t; \tid=a1B2 \t;\t "}, "a1B2", "3.1: white space around each semicolon"},
	{[]string{"v=STSv1; id=a1 "}, "a1", "white space at the end"},
	{[]string{"v=STSv1; id=" + strings.Repeat("z", 32)}, strings.Repeat("z", 32), "3.1: 32 characters"},
	{[]string{"v=STSv1; a.b_c-1=!#$%~; id=x; 2=y"}, "x", "3.1: unknown fields, before and after"},
	{[]string{"v=STSv1; " + strings.Repeat("n", 32) + "=v; id=x"}, "x", "3.1: a name of 32 characters"},
	{[]string{"v=STSv1; id=first; id=second"}, "first", "3.1: of a repeated field the first counts"},
	{[]string{"v=STSv1; id=first; id=not-an-id"}, "first", "3.1: so the second need not be an id"},
	{[]string{"v=STSv1; v=STSv2; id=x"}, "x", "a second v is an unknown field"},
	{[]string{"v=STSv1; ID=upper; id=lower"}, "lower", "3.1: %s, names have a case"},
	{[]string{"v=spf1 -all", "v=STSv1; id=x", "google-site-verification=y", ""}, "x",
		"3.1: other records are discarded"},
	{[]string{"v=STSv2; id=y", "v=STSv1; id=x", "v=STSv10; id=z"}, "x", "3.1: other versions are other records"},
	{[]string{"v=STSv1", "v=STSv1; id=x"}, "x", "3.1: no semicolon, so discarded"},
}

var badRecords = []struct {
	txts []string
	want error  // nil: a *SyntaxError
	msg  string // part of the error's text
	why  string
}{
	{nil, ErrNoRecord, "no MTA-STS", "no records"},
	{[]string{""}, ErrNoRecord, "no MTA-STS", "an empty record"},
	{[]string{"v=spf1 -all"}, ErrNoRecord, "no MTA-STS", "another kind of record"},
	{[]string{"v=STSv10; id=x"}, ErrNoRecord, "no MTA-STS", "3.1: must begin v=STSv1;"},
	{[]string{"v=STSv1x"}, ErrNoRecord, "no MTA-STS", "3.1: must begin v=STSv1;"},
	{[]string{"v=STSv1 id=x"}, ErrNoRecord, "no MTA-STS", "3.1: must begin v=STSv1;"},
	{[]string{"v=stsv1; id=x"}, ErrNoRecord, "no MTA-STS", "3.1: %s, the version has a case"},
	{[]string{"V=STSv1; id=x"}, ErrNoRecord, "no MTA-STS", "3.1: %s, its name too"},
	{[]string{" v=STSv1; id=x"}, ErrNoRecord, "no MTA-STS", "3.1: white space before the version"},
	{[]string{"id=x; v=STSv1"}, ErrNoRecord, "no MTA-STS", "3.1: the version comes first"},
	{[]string{"v=STSv1\n; id=x"}, ErrNoRecord, "no MTA-STS", "RFC 5234: LF is no WSP"},
	{[]string{"v=STSv1; id=x", "v=STSv1; id=y"}, ErrMultipleRecords, "more than one", "3.1: exactly one"},
	{[]string{"v=STSv1; id=x", "v=STSv1; id=x"}, ErrMultipleRecords, "more than one", "3.1: alike or not"},
	{[]string{"v=STSv1; id=x", "v=STSv1;"}, ErrMultipleRecords, "more than one", "3.1: a broken one counts"},

	{[]string{"v=STSv1"}, nil, "no id field", "3.1: id is required"},
	{[]string{"v=STSv1 \t"}, nil, "no id field", "3.1: the same with white space"},
	{[]string{"v=STSv1;"}, nil, "no id field", "3.1: at least one field"},
	{[]string{"v=STSv1; a=b;"}, nil, "no id field", "3.1: id is required"},
	{[]string{"v=STSv1; ID=x"}, nil, "no id field", "3.1: %s, names have a case"},
	{[]string{"v=STSv1; id="}, nil, `"id="`, "3.1: 1 to 32 characters"},
	{[]string{"v=STSv1; id"}, nil, `"id"`, "3.1: no equals sign"},
	{[]string{"v=STSv1; id=" + strings.Repeat("z", 33)}, nil, "not 1 to 32", "3.1: 1 to 32 characters"},
	{[]string{"v=STSv1; id=2026-01-01"}, nil, `"2026-01-01"`, "3.1: letters and digits only"},
	{[]string{"v=STSv1; id=not-an-id; id=x"}, nil, `"not-an-id"`, "3.1: the first counts, and it is broken"},
	{[]string{"v=STSv1; id=x=y"}, nil, `"id=x=y"`, "3.1: no = in a value"},
	{[]string{"v=STSv1; id= x"}, nil, `"id= x"`, "3.1: no space after ="},
	{[]string{"v=STSv1; id =x"}, nil, `"id =x"`, "3.1: no space before ="},
	{[]string{"v=STSv1; id=x y"}, nil, `"id=x y"`, "3.1: no space in a value"},
	{[]string{"v=STSv1; id=x; junk"}, nil, `"junk"`, "3.1: a field is name=value"},
	{[]string{"v=STSv1; id=x; a="}, nil, `"a="`, "3.1: a value is not empty"},
	{[]string{"v=STSv1; id=x; =b"}, nil, `"=b"`, "3.1: a name is not empty"},
	{[]string{"v=STSv1; id=x; _a=b"}, nil, `"_a=b"`, "3.1: a name begins with a letter or digit"},
	{[]string{"v=STSv1; id=x; " + strings.Repeat("n", 33) + "=b"}, nil, "name=value",
		"3.1: a name has 32 characters at most"},
	{[]string{"v=STSv1;; id=x"}, nil, "empty field", "3.1: between two semicolons is a field"},
	{[]string{"v=STSv1; id=x; ;"}, nil, "empty field", "3.1: only one semicolon at the end"},
	{[]string{"v=STSv1; id=x\x00"}, nil, `x\x00`, "3.1: printable characters only"},
	{[]string{"v=STSv1; id=x\r\n"}, nil, `x\r\n`, "3.1: printable characters only"},
	{[]string{"v=STSv1; id=é"}, nil, `"id=é"`, "3.1: ASCII only"},
	{[]string{"v=STSv1; id=x; a=\xff"}, nil, `\xff`, "3.1: ASCII only"},
}

func TestParseRecord(t *testing.T) {
	for _, tt := range goodRecords {
		rec, err := ParseRecord(tt.txts)
		if err != nil || rec.ID != tt.id {
			t.Errorf("%s: ParseRecord(%q) = %q, %v, want %q", tt.why, tt.txts, rec.ID, err, tt.id)
		}
	}
}

func TestParseRecordRejects(t *testing.T) {
	for _, tt := range badRecords {
		rec, err := ParseRecord(tt.txts)
		if err == nil {
			t.Errorf("%s: ParseRecord(%q) = %q, want an error", tt.why, tt.txts, rec.ID)
			continue
		}
		checkRecordError(t, rec, err)
		if tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: ParseRecord(%q): error %v, want %v", tt.why, tt.txts, err, tt.want)
		}
		if bad := (*SyntaxError)(nil); tt.want == nil && !errors.As(err, &bad) {
			t.Errorf("%s: ParseRecord(%q): error %v, want a *SyntaxError", tt.why, tt.txts, err)
		}
		if !strings.Contains(err.Error(), tt.msg) {
			t.Errorf("%s: ParseRecord(%q): error %q, want one with %q", tt.why, tt.txts, err, tt.msg)
		}
	}
}

// TestParseRecordInAnyOrder: the order of records in the DNS does not matter.
func TestParseRecordInAnyOrder(t *testing.T) {
	txts := []string{"v=STSv1", "v=STSv1; id=x", "v=spf1 -all"}
	for range txts {
		txts = append(txts[1:], txts[0])
		if rec, err := ParseRecord(txts); err != nil || rec.ID != "x" {
			t.Errorf("ParseRecord(%q) = %q, %v", txts, rec.ID, err)
		}
	}
}
