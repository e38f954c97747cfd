package resolver

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// decideAt is the time of all of TestDecide's questions.
var decideAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func policy(t testing.TB, mode string, maxAge time.Duration) mtasts.Policy {
	t.Helper()
	p, err := mtasts.ParsePolicy(
		fmt.Appendf(nil, "version: STSv1\nmode: %s\nmx: mx.example.test\nmax_age: %d\n", mode, int(maxAge/time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func heldPolicy(t testing.TB, mode string, age time.Duration) *CachedPolicy {
	t.Helper()
	return NewCachedPolicy(Entry{
		Domain: dnsname.MustParse("example.test"), ID: "1", Policy: policy(t, mode, time.Hour),
		Fetched: decideAt.Add(-age), Checked: decideAt,
	}, decideAt)
}

// TestDecide goes over the whole product of questions and findings.
func TestDecide(t *testing.T) {
	errDNS, errTLSA := errors.New("SERVFAIL"), errors.New("TLSA SERVFAIL")
	enforce, testing_, none := heldPolicy(t, "enforce", time.Minute), heldPolicy(t, "testing", time.Minute),
		heldPolicy(t, "none", time.Minute)
	findings := []struct {
		why    string
		s      Finding
		lax    Outcome // for a question that is not strict
		strict Outcome
	}{
		{"live enforce", enforce, Enforce, Enforce},
		{"live at the last second", heldPolicy(t, "enforce", time.Hour), Enforce, Enforce},
		{"expired a second ago", heldPolicy(t, "enforce", time.Hour+time.Second), Absent, Absent},
		{"testing binds only the strict", testing_, Testing, Enforce},
		{"none binds nobody, not even the strict", none, None, None},
		{"no policy", NoPolicy{}, Absent, Absent},
		{"DNS failed", &LookupFailed{Err: errDNS}, Unknown, Unknown},
		{"fetch failed", &FetchFailed{Err: errDNS}, Unfetched, Unfetched},
		{"a fault of this host", &HostFailed{Err: errDNS}, Unable, Unable},
		{"at a limit", Busy{errDNS}, Overloaded, Overloaded},
		{"closing", Closed{}, Closing, Closing},
	}
	danes := []struct {
		d     dane.Finding
		bound Outcome // where MTA-STS would bind and the asker does DANE
	}{
		{dane.Finding{}, Enforce},
		{dane.Finding{Status: dane.None}, Enforce},
		{dane.Finding{Status: dane.Usable}, DANEOnly},
		{dane.Finding{Status: dane.Failed, Err: errTLSA}, DANEUnknown},
	}
	for _, f := range findings {
		for _, d := range danes {
			find := func() dane.Finding { return d.d }
			for _, strict := range []bool{false, true} {
				for _, does := range []bool{false, true} {
					want := f.lax
					if strict {
						want = f.strict
					}
					if want == Enforce && does {
						want = d.bound
					}
					v := Decide(decideAt, Question{Strict: strict, DANE: does}, nil, f.s, find)
					if v.Outcome != want {
						t.Errorf("%s, strict %v, DANE asked %v found %v: %v, want %v", f.why, strict, does, d.d.Status,
							v.Outcome, want)
					}
					checkVerdict(t, f.why, v, f.s)
				}
			}
		}
	}
}

// checkVerdict: who reads a verdict relies on a policy where one binds, and on a reason where the mail may have to
// wait.
func checkVerdict(t *testing.T, why string, v Verdict, s Finding) {
	t.Helper()
	switch v.Outcome {
	case Enforce, Testing, None, DANEOnly, DANEUnknown:
		if v.Policy != s {
			t.Errorf("%s: verdict %v without the policy", why, v.Outcome)
		}
	}
	switch v.Outcome {
	case Unknown, Unfetched, Unable, Overloaded, DANEUnknown:
		if v.Reason == nil {
			t.Errorf("%s: verdict %v without a reason", why, v.Outcome)
		}
	}
}

func TestOutcomeWords(t *testing.T) {
	seen := map[string]bool{}
	for o := Outcome(1); o < outcomeCount; o++ {
		if w := o.String(); w == "" || w == "invalid" || seen[w] {
			t.Errorf("outcome %d has the word %q", o, w)
		} else {
			seen[w] = true
		}
	}
	if w := Outcome(0).String(); w != "invalid" {
		t.Errorf("the zero Outcome has the word %q", w)
	}
}
