package doctor

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestCuresCure goes through all combinations of what is commonly wrong: once main.cf has the lines that the first
// diagnosis asks for, the second asks for none, no finding of the second would be mended by a line of main.cf, and what
// is left to do was there before.
func TestCuresCure(t *testing.T) {
	n := 0
	for _, version := range []string{"2.11.0", "3.3.22", "3.7.11", "3.10.4", "3.10.5", "3.11.7"} {
		for _, level := range []string{"", "none", "may", "encrypt", "dane", "dane-only", "nonsense"} {
			for _, support := range []string{"", "enabled", "dnssec"} {
				for _, lookup := range []string{"dns", "native"} {
					for _, ca := range []string{"", "/gone", bundleFile} {
						for _, value := range someMaps() {
							h := soundHost(version).set(securityLevel, level).set(dnsSupport, support).set(hostLookup,
								lookup)
							checkCures(t, h.set(caFile, ca).maps(value).file("/gone", FileMissing))
							n++
						}
					}
				}
			}
		}
	}
	t.Logf("%d combinations", n)
}

func someMaps() []string {
	const other = "socketmap:inet:127.0.0.1:8642:QUERY"
	list := []string{"", "hash:/a", "static:may", other, other + " static:may", "tcp:127.0.0.1:8461"}
	for _, name := range []string{
		"sts", "sts+dane", "sts+tlsrpt", "sts+dane+tlsrpt+strict", "sts+nosni", "postfix", "QUERY", "QUERYwithTLSRPT",
		"sts+x", "shadow",
	} {
		list = append(list, ourMap+name, "hash:/a "+ourMap+name, "static:may, "+ourMap+name+", "+ourMap+"sts")
	}
	return list
}

func checkCures(t *testing.T, h *host) {
	t.Helper()
	before := Diagnose(h.Facts)
	var what []string
	for _, name := range []string{"mail_version", securityLevel, dnsSupport, hostLookup, caFile, policyMaps} {
		what = append(what, h.Parameters[name])
	}
	if len(before.Changes) == 0 &&
		slices.ContainsFunc(before.Findings, func(f Finding) bool { return len(f.Fixes) > 0 }) {
		t.Fatalf("%q: fixes without changes: %v", what, before.Findings)
	}
	cured := &host{h.Facts}
	cured.Parameters, cured.Written = maps.Clone(h.Parameters), maps.Clone(h.Written)
	for _, c := range before.Changes {
		cured.set(c.Parameter, c.New)
	}
	after := Diagnose(cured.Facts)
	if len(after.Changes) > 0 {
		t.Fatalf("%q\nbefore %q, changes %v\nafter %q, changes %v", what, ids(before), before.Changes, ids(after),
			after.Changes)
	}
	for _, f := range after.Findings {
		old := func(b Finding) bool { return b.ID == f.ID }
		if f.Severity != Note && !slices.ContainsFunc(before.Findings, old) {
			t.Fatalf("%q: %s is new after the cure: %s", what, f.ID, f.Problem)
		}
	}
}

// FuzzTables feeds any list of tables to the parser and the rules.
func FuzzTables(f *testing.F) {
	for _, list := range someMaps() {
		f.Add(list, "3.7.11")
	}
	f.Add("inline:{ {a = b}, {c = d} }\t"+ourMap+"sts", "3.11-20250823")
	f.Add("{{{", "")
	f.Add("proxy:socketmap:unix::", "3.")
	f.Fuzz(func(t *testing.T, list, version string) {
		tables := splitLookupTables(list)
		if again := splitLookupTables(strings.Join(tables, ", ")); !slices.Equal(again, tables) && balanced(tables) {
			t.Errorf("%q is %q, and then %q", list, tables, again)
		}
		h := soundHost("3.7.11").set("mail_version", version).maps(list)
		surveyOf(h.Facts)
		first := Diagnose(h.Facts)
		for _, c := range first.Changes {
			h.set(c.Parameter, c.New)
		}
		if second := Diagnose(h.Facts); len(second.Changes) > 0 && balanced(tables) {
			t.Errorf("%q: first %v, then %v", list, first.Changes, second.Changes)
		}
	})
}

// balanced reports whether the braces of each table match; Postfix's own parser makes something else of others.
func balanced(tables []string) bool {
	return !slices.ContainsFunc(tables, func(s string) bool {
		depth := 0
		for _, c := range s {
			switch c {
			case '{':
				depth++
			case '}':
				depth--
			}
			if depth < 0 {
				return true
			}
		}
		return depth != 0
	})
}

// FuzzParse feeds any output of postconf to the parsers.
func FuzzParse(f *testing.F) {
	f.Add("smtp unix - - y - - smtp -o a=b\nsmtp/unix/a = b\nx =\n")
	f.Add("smtp/unix/ = \n=\n/=\n")
	f.Fuzz(func(t *testing.T, output string) {
		parseParameters(output)
		services := parseServices(output)
		parseOverrides(output, services)
		for _, s := range services {
			if strings.Count(s.Name, "/") < 1 {
				t.Errorf("service %q", s.Name)
			}
		}
	})
}
