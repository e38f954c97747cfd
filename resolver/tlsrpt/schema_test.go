package tlsrpt

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestDatagramFitsReports holds each field of the datagrams against the schema of reports (RFC 8460 section 4.4): a
// collector copies them into a report under the schema's names, and a report with one wrong field is invalid as a
// whole.
func TestDatagramFitsReports(t *testing.T) {
	for _, c := range reportCases() {
		if c.file == "hostile" {
			continue // its texts are as a hostile domain wrote them; TestGolden has them
		}
		var d map[string]any
		if err := json.Unmarshal(c.report.Datagram(), &d); err != nil {
			t.Fatal(err)
		}
		policies, _ := d["policies"].([]any)
		if len(policies) != 1 {
			t.Fatalf("%s: %v", c.file, d)
		}
		fields := policies[0].(map[string]any)
		details, _ := fields["failure-details"].([]any)
		delete(fields, "failure-details")
		for key, value := range fields {
			if fits := policyFields()[key]; fits == nil || !fits(value) {
				t.Errorf("%s: %s is %v", c.file, key, value)
			}
		}
		if len(details) != 1 {
			t.Errorf("%s: details %v", c.file, details)
		}
		for key, value := range details[0].(map[string]any) {
			if fits := detailFields()[key]; fits == nil || !fits(value) {
				t.Errorf("%s: failure detail %s is %v", c.file, key, value)
			}
		}
	}
}

// policyFields say of each field of a policy whether the schema of "policy" and "summary" admits the value.
func policyFields() map[string]func(any) bool {
	texts := func(fits func(string) bool) func(any) bool {
		return func(v any) bool {
			list, ok := v.([]any)
			return ok && len(list) > 0 && !slices.ContainsFunc(list, func(item any) bool {
				s, ok := item.(string)
				return !ok || !fits(s)
			})
		}
	}
	return map[string]func(any) bool{
		"policy-type":   func(v any) bool { return v == 2.0 }, // sts
		"policy-string": texts(func(s string) bool { return strings.Contains(s, ": ") }),
		"policy-domain": func(v any) bool { return isALabels(v.(string)) },
		"mx-host":       texts(func(s string) bool { return isALabels(strings.TrimPrefix(s, "*.")) }),
		"t":             func(v any) bool { return v == 1.0 }, // total-failure-session-count
		"f":             func(v any) bool { return v == 1.0 },
	}
}

// detailFields say of each field of a failure detail whether the schema of "failure-details" admits the value.
func detailFields() map[string]func(any) bool {
	return map[string]func(any) bool{
		// result-type, of section 4.3.2.2
		"c": func(v any) bool { return v == 301.0 || v == 302.0 || v == 303.0 },
		// additional-information
		"a": func(v any) bool {
			u, err := url.Parse(v.(string))
			return err == nil && u.IsAbs()
		},
		// failure-reason-code, "a text field to include a TLS-related error code or error message"
		"f": func(v any) bool { s, ok := v.(string); return ok && s != "" },
	}
}

func isALabels(s string) bool {
	name, err := dnsname.Parse(s)
	return err == nil && name.String() == s
}
