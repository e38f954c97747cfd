package deliveries

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

var update = flag.Bool("update", false, "write the golden files")

// testNow is an hour after the logs of testdata.
func testNow() time.Time { return time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) }

func reportOf(t *testing.T, log string) *maillog.Report {
	t.Helper()
	in, err := maillog.NewInput("-", strings.NewReader(log), testNow())
	if err != nil {
		t.Fatal(err)
	}
	in.Zone = time.UTC
	report := maillog.NewReport(maillog.DefaultLimits())
	if _, err := in.Scan(t.Context(), report.Add); err != nil {
		t.Fatal(err)
	}
	return report
}

// TestReasons: each reason has words of its own, a remedy, and an override where, and only where, one helps.
func TestReasons(t *testing.T) {
	seen := map[string]maillog.Reason{}
	for r := maillog.NoReason + 1; r < maillog.ReasonCount; r++ {
		words := Words(r)
		if other, again := seen[words]; again || words == r.String() {
			t.Errorf("%v: %q are the words of %v", r, words, other)
		}
		seen[words] = r
		if r > maillog.NoReason && !strings.Contains(remedy(r, "example.com"), "stsmapd") {
			t.Errorf("%v: remedy %q names no command", r, remedy(r, "example.com"))
		}
		if isPublishers(r) != strings.HasPrefix(remedy(r, "a.example"), "stsmapd check a.example; tell") {
			t.Errorf("%v: whose fault is it? %q", r, remedy(r, "a.example"))
		}
	}
}

// TestSummary compares what is made of each log of testdata with its golden files.
func TestSummary(t *testing.T) {
	logs, err := filepath.Glob("testdata/*.log")
	if err != nil || len(logs) < 3 {
		t.Fatal(logs, err)
	}
	expires := testNow().Add(72 * time.Hour)
	daemon := map[string]*Policy{
		"partner.example": {
			Mode: "enforce", MX: []string{"mx1.partner.example", "*.partner.example"}, Expires: &expires,
			Answer: "OK secure match=mx1.partner.example:.partner.example servername=hostname"},
		"slow.example": {MX: []string{}, Answer: "TEMP the DNS does not answer"},
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s := Summarize(reportOf(t, string(text)), Options{From: testNow().Add(-24 * time.Hour), Now: testNow()})
		s.AddPolicies(func(domain dnsname.Name) (*Policy, error) {
			if domain.String() == "away.example" {
				return nil, errors.New("cannot ask the daemon at unix:/run/stsmapd/control.sock: is stsmapd running?")
			}
			return daemon[domain.String()], nil
		})
		var plain, json bytes.Buffer
		if err := errors.Join(s.Print(&plain, testNow()), term.WriteJSON(&json, s)); err != nil {
			t.Error(err)
		}
		for extension, got := range map[string][]byte{".txt": plain.Bytes(), ".json": json.Bytes()} {
			golden(t, strings.TrimSuffix(name, ".log")+extension, got)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v, got\n%s", name, err, got)
	}
}

// TestOneDomain: only its mail is counted, and only what waits for it is told.
func TestOneDomain(t *testing.T) {
	text, err := os.ReadFile("testdata/waiting.log")
	if err != nil {
		t.Fatal(err)
	}
	report := reportOf(t, string(text))
	for _, c := range []struct {
		domain            string
		domains, waits    int
		verified, waiting int
		note              string
	}{
		{"good.example", 1, 0, 2, 0, ""},
		{"partner.example", 1, 1, 0, 2, ""},
		{"none.example", 0, 0, 0, 0, "no_mail"},
	} {
		s := Summarize(report, Options{Domain: dnsname.MustParse(c.domain), Now: testNow()})
		note := ""
		for _, n := range s.Notes {
			note += n.Code
		}
		if s.Domains != c.domains || len(s.Waiting) != c.waits || s.Counts.Verified != c.verified ||
			s.Counts.Waiting != c.waiting || note != c.note || s.From != nil {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}
