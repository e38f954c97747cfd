package tlsrpt

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func isPrintable(r rune) bool { return unicode.IsPrint(r) }

// sample returns a report of a failure while a policy is live.
func sample() Report {
	return Report{
		Domain: dnsname.MustParse("example.com"),
		Record: plainRecord,
		Policy: []string{"version: STSv1", "mode: enforce", "mx: mail.example.com", "mx: *.example.net",
			"max_age: 604800"},
		MX:      []string{"mail.example.com", "*.example.net"},
		Failure: WebPKIInvalid,
		Reason:  "the certificate of mta-sts.example.com has expired",
	}
}

type reportCase struct {
	file   string
	report Report
}

func reportCases() []reportCase {
	with := func(change func(*Report)) Report {
		r := sample()
		change(&r)
		return r
	}
	return []reportCase{
		{"webpki-invalid-live", sample()},
		{"policy-invalid-live", with(func(r *Report) { r.Failure, r.Reason = PolicyInvalid, "line 3: no colon" })},
		{"fetch-error-no-policy",
			with(func(r *Report) { r.Failure, r.Reason, r.Policy, r.MX = FetchError, "HTTP status 404", nil, nil })},
		{"no-reason", with(func(r *Report) { r.Failure, r.Reason = FetchError, "" })},
		{"empty-lists", with(func(r *Report) { r.Policy, r.MX = []string{}, []string{} })},
		{"hostile", with(func(r *Report) {
			r.Record = "v=TLSRPTv1;\trua=mailto:\"a\\b\"@example.com?subject=<tls>&x"
			r.Policy = []string{"version: STSv1", "x-quote: \"}],\"t\":0,\"f\":0", "x-nul: \x00\x1b[2J\x7f",
				"x-bytes: \xff\xfe", "x-sep: \u2028", ""}
			r.Reason = "bad\r\nline \x1b[2J \xff <&> \u202e ü"
		})},
		{"idn", with(func(r *Report) { r.Domain = dnsname.MustParse("bücher.example") })},
	}
}

// TestGolden compares the datagrams, byte for byte, with files.
func TestGolden(t *testing.T) {
	for _, c := range reportCases() {
		got := c.report.Datagram()
		file := filepath.Join("testdata", c.file+".golden")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.file, got, want)
		}
	}
}

// TestForm: the datagrams have libtlsrpt's keys and types, in its order. The wanted ones are as libtlsrpt writes them.
func TestForm(t *testing.T) {
	for _, c := range []struct {
		why    string
		report Report
		want   string
	}{
		{"a live policy, no reason",
			Report{Domain: dnsname.MustParse("example.com"), Record: "v=TLSRPTv1; rua=mailto:tls@example.com",
				Failure: FetchError,
				Policy:  []string{"version: STSv1", "mode: enforce"}, MX: []string{"mail.example.com"}},
			`{"dpv": "1","d": "example.com","pr": "v=TLSRPTv1; rua=mailto:tls@example.com",` +
				`"policies":[{"policy-type":2,"policy-domain": "example.com",` +
				`"policy-string":["version: STSv1","mode: enforce"],"mx-host":["mail.example.com"],` +
				`"failure-details":[{"c":301}],"t":1,"f":1}]}`},
		{"no live policy: no empty lists",
			Report{Domain: dnsname.MustParse("example.com"), Record: "v=TLSRPTv1; rua=mailto:tls@example.com",
				Failure: PolicyInvalid, Reason: "no mode\t"},
			`{"dpv": "1","d": "example.com","pr": "v=TLSRPTv1; rua=mailto:tls@example.com",` +
				`"policies":[{"policy-type":2,"policy-domain": "example.com",` +
				`"failure-details":[{"c":302,"f": "no mode` + "\ufffd" + `"}],"t":1,"f":1}]}`},
	} {
		t.Run(c.why, func(t *testing.T) {
			got, want := tokens(t, c.report.Datagram()), tokens(t, []byte(c.want))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// tokens returns the JSON tokens of exactly one value, in their order.
func tokens(t *testing.T, b []byte) (all []json.Token) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		all = append(all, token)
	}
}

func TestNoReport(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(*Report)
	}{
		{"no domain", func(r *Report) { r.Domain = dnsname.Name{} }},
		{"no record", func(r *Report) { r.Record = "" }},
		{"a record too long to have room for", func(r *Report) { r.Record = longRecord(maxRecord + 1) }},
		{"no failure", func(r *Report) { r.Failure = 0 }},
		{"a failure of sessions, not of policies", func(r *Report) { r.Failure = 201 }},
	} {
		r := sample()
		c.change(&r)
		if b := r.Datagram(); b != nil {
			t.Errorf("%s: %s", c.why, b)
		}
	}
}

// lines returns n different texts, each of size bytes as a JSON string with quotes.
func lines(n, size int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%0*d", size-2, i))
	}
	return all
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		why        string
		policy, mx []string
		keepsMX    bool // all of them
	}{
		{"short lines", lines(20000, 10), sample().MX, true},
		{"one line too long", lines(1, 70000), sample().MX, true},
		{"the policy and its patterns", lines(3000, 20), lines(3000, 16), true},
		{"patterns alone pass the bound", sample().Policy, lines(9000, 16), false},
		{"everything is escaped, sixfold", []string{strings.Repeat("\x01", 12000)}, sample().MX, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			r := sample()
			r.Policy, r.MX, r.Record, r.Reason = c.policy, c.mx, longRecord(maxRecord), strings.Repeat("i", 1000)
			b := r.Datagram()
			if len(b) == 0 || len(b) > maxDatagram {
				t.Fatalf("%d bytes", len(b))
			}
			var d datagram
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(err)
			}
			p := d.Policies[0]
			if !isPrefix(p.Lines, c.policy) || !isPrefix(p.MX, c.mx) {
				t.Error("what is kept are not the first ones")
			}
			if kept := len(p.MX) == len(c.mx); kept != c.keepsMX {
				t.Errorf("%d of %d patterns kept", len(p.MX), len(c.mx))
			}
			next := c.policy[len(p.Lines):]
			if !c.keepsMX {
				next = c.mx[len(p.MX):]
				if len(p.Lines) > 0 {
					t.Error("patterns were left out before lines")
				}
			}
			if room := maxDatagram - len(b); len(next) == 0 || len(marshal(next[0]))+32 < room {
				t.Errorf("left out are %.20q…, with %d bytes to spare", next, room)
			}
			if got := d.Policies[0].Details[0].Reason; got != strings.Repeat("i", maxReason) {
				t.Errorf("reason of %d bytes", len(got))
			}
		})
	}
}

func isPrefix(some, all []string) bool {
	return len(some) <= len(all) && (len(some) == 0 || reflect.DeepEqual(some, all[:len(some)]))
}

func TestFailureString(t *testing.T) {
	for f, want := range map[Failure]string{
		301: "sts-policy-fetch-error", 302: "sts-policy-invalid", 303: "sts-webpki-invalid", 7: "failure 7",
	} {
		if got := f.String(); got != want {
			t.Errorf("%d is %q, want %q", int(f), got, want)
		}
	}
}

// FuzzDatagram: for any texts, a datagram is one JSON object in valid UTF-8, without control characters, within its
// bound, and has the texts of the report.
func FuzzDatagram(f *testing.F) {
	for _, c := range reportCases() {
		f.Add(c.report.Record, strings.Join(c.report.Policy, "\n"), strings.Join(c.report.MX, "\n"), c.report.Reason)
	}
	f.Fuzz(func(t *testing.T, record, policy, mx, info string) {
		r := sample()
		r.Record, r.Policy, r.MX, r.Reason = record, strings.Split(policy, "\n"), strings.Split(mx, "\n"), info
		b := r.Datagram()
		if _, err := ParseRecord([]string{record}); (err == nil) != (b != nil) {
			t.Fatalf("record %q: %v, but the datagram is %q", record, err, b)
		}
		if b == nil {
			return
		}
		if len(b) > maxDatagram || !utf8.Valid(b) ||
			bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("datagram of %d bytes: %q", len(b), b)
		}
		var d datagram
		strict := json.NewDecoder(bytes.NewReader(b))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&d); err != nil || strict.More() {
			t.Fatalf("%v in %q", err, b)
		}
		if d.Record != record || len(d.Policies) != 1 || len(d.Policies[0].Details) != 1 {
			t.Fatalf("datagram %q", b)
		}
		if got := d.Policies[0].Details[0].Reason; len(got) > maxReason ||
			strings.ContainsFunc(got, func(r rune) bool { return !isPrintable(r) && r != unicode.ReplacementChar }) {
			t.Errorf("reason %q", got)
		}
		if len(policy)+len(mx) > 4000 {
			return // some may have been left out
		}
		if got := d.Policies[0]; !reflect.DeepEqual(got.Lines, encodable(r.Policy)) ||
			!reflect.DeepEqual(got.MX, encodable(r.MX)) {
			t.Errorf("policy %q %q, want %q %q", got.Lines, got.MX, r.Policy, r.MX)
		}
	})
}

// encodable returns the texts with U+FFFD for each byte that is not UTF-8.
func encodable(texts []string) (all []string) {
	for _, text := range texts {
		all = append(all, string([]rune(text)))
	}
	return all
}
