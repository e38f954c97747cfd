package tlspolicy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func held(t testing.TB, body string) *resolver.CachedPolicy {
	t.Helper()
	p, err := mtasts.ParsePolicy([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return resolver.NewCachedPolicy(resolver.Entry{
		Domain: dnsname.MustParse("example.com"), ID: "1", Policy: p, Fetched: time.Now()}, time.Time{})
}

const (
	plainPolicy = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmx: *.example.net\nmax_age: 604800\n"
	oddPolicy   = "version: STSv1\r\nmode: enforce\r\nmx: MX1.Example.COM  \r\n\r\nmx: mx1.example.com\r\nmx: " +
		"*.Example.net.\r\n" +
		"max_age: 604800\r\nx-note: contact {postmaster}\r\nx-ok: a, b=c; d\r\nmx: bücher.example"
)

// TestGolden compares every form of reply, byte for byte, with a file.
func TestGolden(t *testing.T) {
	why := errors.New("look up the MTA-STS record of example.com: SERVFAIL")
	enforce := func(body string) resolver.Verdict {
		return resolver.Verdict{Outcome: resolver.Enforce, Policy: held(t, body)}
	}
	for _, c := range []struct {
		file string
		maps string
		v    resolver.Verdict
	}{
		{"enforce-sts", "sts", enforce(plainPolicy)},
		{"enforce-nosni", "sts+nosni", enforce(plainPolicy)},
		{"enforce-tlsrpt", "sts+tlsrpt", enforce(plainPolicy)},
		{"enforce-tlsrpt-nosni", "sts+tlsrpt+nosni", enforce(plainPolicy)},
		{"odd-sts", "sts", enforce(oddPolicy)},
		{"odd-tlsrpt", "sts+tlsrpt", enforce(oddPolicy)},
		{"testing", "sts", resolver.Verdict{Outcome: resolver.Testing, Policy: held(t, plainPolicy)}},
		{"none", "sts+tlsrpt", resolver.Verdict{Outcome: resolver.None, Policy: held(t, plainPolicy)}},
		{"absent", "sts+defer", resolver.Verdict{Outcome: resolver.Absent}},
		{"unfetched", "sts+defer", resolver.Verdict{Outcome: resolver.Unfetched, Reason: why}},
		{"unknown", "sts", resolver.Verdict{Outcome: resolver.Unknown, Reason: why}},
		{"unknown-defer", "sts+defer", resolver.Verdict{Outcome: resolver.Unknown, Reason: why}},
		{"host-fault", "sts", resolver.Verdict{Outcome: resolver.Unable, Reason: why}},
		{"host-fault-defer", "sts+defer", resolver.Verdict{Outcome: resolver.Unable, Reason: why}},
		{"overloaded", "sts", resolver.Verdict{
			Outcome: resolver.Overloaded, Reason: errors.New("at its limit of lookups under way")}},
		{"dane-only", "sts+dane", resolver.Verdict{Outcome: resolver.DANEOnly, Policy: held(t, plainPolicy)}},
		{"dane-unknown", "sts+dane",
			resolver.Verdict{Outcome: resolver.DANEUnknown, Policy: held(t, plainPolicy),
				Reason: errors.New("TLSA _25._tcp.mx1.example.com: SERVFAIL")}},
		{"no-outcome", "sts", resolver.Verdict{}},
	} {
		f, err := ParseMapName(c.maps)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, c.file, Render(f, c.v).AppendTo(nil))
	}
	if got := Render(Features{}, resolver.Verdict{Outcome: resolver.Closing}); got.Status() != socketmap.StatusHangup {
		t.Errorf("a service that is shutting down answers %v, want a hangup", got)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s:\ngot  %q\nwant %q", name, got, want)
	}
}

// TestLongPolicies: a policy of 64 KiB with the shortest MX patterns never makes an invalid frame.
func TestLongPolicies(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		b.WriteString("version: STSv1\nmode: enforce\nmax_age: 86400\n")
		for i := range n {
			fmt.Fprintf(&b, "mx: %x.b.c\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		why      string
		patterns int
		maps     string
		status   socketmap.Status
		lines    bool // the reply has policy_string attributes
	}{
		{"as many as fit in 64 KiB", 5000, "sts", socketmap.StatusOK, false},
		{"few: all attributes fit", 100, "sts+tlsrpt", socketmap.StatusOK, true},
		{"the policy's lines are left out first", 2000, "sts+tlsrpt", socketmap.StatusOK, false},
		{"still too long: the mail waits, with a reason", 5000, "sts+tlsrpt", socketmap.StatusTemp, false},
	} {
		f, err := ParseMapName(c.maps)
		if err != nil {
			t.Fatal(err)
		}
		got := Render(f, resolver.Verdict{Outcome: resolver.Enforce, Policy: held(t, many(c.patterns))})
		frame := got.AppendTo(nil)
		if got.Status() != c.status || strings.Contains(got.Data(), "policy_string") != c.lines ||
			len(frame) > 100_000 || len(got.Data()) == 0 {
			t.Errorf("%s: status %v, %d bytes, policy_string %v", c.why, got.Status(), len(frame),
				strings.Contains(got.Data(), "policy_string"))
		}
	}
}

// TestPatternsOfOneLabel: an mx of one label reaches Postfix as it is, unless it is a word that means more to Postfix:
// `hostname` in match= accepts every MX host.
func TestPatternsOfOneLabel(t *testing.T) {
	for _, c := range []struct{ mx, want string }{
		{"localhost", "localhost"},
		{"*.test", ".test"},
		{"192.0.2.1", "192.0.2.1"},
		{"hostname", "hostname.invalid"},
		{"HostName.", "hostname.invalid"},
		{"nexthop", "nexthop.invalid"},
		{"dot-nexthop", "dot-nexthop.invalid"},
		{"*.hostname", ".hostname"},
		{"hostname.example.com", "hostname.example.com"},
	} {
		p, err := mtasts.ParsePattern(c.mx)
		if err != nil {
			t.Fatal(err)
		}
		if got := matchPattern(p); got != c.want {
			t.Errorf("mx: %s is match=%s, want %s", c.mx, got, c.want)
		}
	}
}
