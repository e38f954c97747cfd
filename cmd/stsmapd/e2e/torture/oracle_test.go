package torture

import (
	"fmt"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// issue is a policy that was published, fetched so long ago for the first time, and lives a week unless it says
// otherwise.
func issue(policy int, ago time.Duration) world.Issue {
	at := time.Now().Add(-ago)
	return world.Issue{Publication: world.Publication{ID: policy, Policy: policy}, First: at, Last: at}
}

func brief(i world.Issue) world.Issue { i.MaxAge = time.Minute; return i }

func inMode(i world.Issue, mode string) world.Issue { i.Mode = mode; return i }

// TestOracle tests that the oracle finds wrong answers, and no others.
func TestOracle(t *testing.T) {
	both := []world.Issue{issue(1, time.Hour), issue(2, time.Minute)}
	for _, c := range []struct {
		why    string
		issues []world.Issue
		floor  int // answered before
		policy int // answered now; 0: none
		good   bool
	}{
		{"nothing known, none", nil, 0, 0, true},
		{"not asked before, none: it may have been looked up in an outage", both, 0, 0, true},
		{"the newest", both, 1, 2, true},
		{"the newest again", both, 2, 2, true},
		{"an older one, the newer not answered yet", both, 1, 1, true},
		{"an older one after a newer", both[1:], 2, 1, false},
		{"one that was never published", both, 2, 3, false},
		{"one of a domain that published nothing", nil, 0, 1, false},
		{"forgotten", both[1:], 2, 0, false},
		{"forgotten, and a newer one was published", both, 1, 0, false},
		{"forgotten, put into the store by a test", []world.Issue{{Publication: both[0].Publication}}, 1, 0, false},
		{"over, none", []world.Issue{brief(issue(1, time.Hour))}, 1, 0, true},
		{"over, answered all the same", []world.Issue{brief(issue(1, time.Hour))}, 1, 1, false},
		{"not over yet", []world.Issue{brief(issue(1, 50*time.Second))}, 1, 1, true},
		{"not over yet, none", []world.Issue{brief(issue(1, 50*time.Second))}, 1, 0, false},
		{"mode none since", []world.Issue{issue(1, time.Hour), inMode(issue(2, time.Minute), "none")}, 1, 0, true},
		{"mode none answered as enforce", []world.Issue{inMode(issue(2, time.Minute), "none")}, 0, 2, false},
	} {
		good := c.policy > 0 && wrong(c.issues, c.policy, Question{"d", time.Now(), c.floor}) == "" ||
			c.policy == 0 && mayBeNone(c.issues, c.floor, time.Now())
		if good != c.good {
			t.Errorf("%s: judged good: %v", c.why, good)
		}
	}
}

// TestOracleCounts tests the counts of the tally.
func TestOracleCounts(t *testing.T) {
	p := world.Open(t).Publishers(t)
	o, domain := NewOracle(p), p.Domain(0)
	p.Publish(domain, world.Publication{ID: 1, Policy: 1})
	answer := func(policy int) string {
		return fmt.Sprintf("OK secure match=g%d.mx.%s servername=hostname", policy, domain)
	}
	for _, a := range []string{
		"NOTFOUND ", answer(1), answer(1), answer(7), "NOTFOUND ", "TEMP later", "PERM no", "OK dane-only",
		"OK secure match=evil.test servername=hostname"} {
		o.Judge(o.Ask(domain), a)
	}
	o.unanswered(o.Ask(domain))
	got := o.Tally()
	if got.Questions != 10 || got.Wrong != 4 || got.Lost != 1 || got.Temporary != 1 || got.Closed != 1 ||
		len(got.Faults) != 5 {
		t.Errorf("%+v", got)
	}
}
