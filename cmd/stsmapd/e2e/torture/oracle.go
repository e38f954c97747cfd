package torture

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// clockSlack is by how much the end of a policy may differ between the oracle and stsmapd, which keeps times in
// milliseconds and max_age in seconds.
const clockSlack = time.Second

// Oracle judges answers. All methods may be called from any goroutine.
type Oracle struct {
	pubs *world.Publishers

	mu       sync.Mutex
	answered map[string]int // number of the newest policy answered, by domain
	tally    Tally
}

// Tally counts answers by the judgement of the oracle.
type Tally struct {
	Questions int // with and without an answer
	Policies  int // answers with a policy
	Wrong     int // answers that must never be given
	Lost      int // "no policy" although one was answered before and lives
	Temporary int // TEMP: ask again
	Closed    int // no answer
	Slowest   time.Duration
	Faults    []string // the first few wrong answers and lost policies
}

// maxFaults bounds Tally.Faults.
const maxFaults = 10

// NewOracle returns an Oracle for these publishers that knows of no answers.
func NewOracle(p *world.Publishers) *Oracle { return &Oracle{pubs: p, answered: map[string]int{}} }

// Question is a question, as Oracle.Ask has noted it.
type Question struct {
	Domain string
	at     time.Time
	floor  int // the newest policy that had been answered before
}

// Ask notes a question that is about to be asked with the map name sts.
func (o *Oracle) Ask(domain string) Question {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Question{domain, time.Now(), o.answered[domain]}
}

// unanswered notes a question that got no answer.
func (o *Oracle) unanswered(Question) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.Questions++
	o.tally.Closed++
}

// Judge notes and judges the answer to a question, such as "OK secure …" or "NOTFOUND ", and reports whether it is
// right; TEMP is.
func (o *Oracle) Judge(q Question, answer string) bool {
	now := time.Now()
	issues := o.pubs.Issues(q.Domain, max(q.floor, 1))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.Questions++
	o.tally.Slowest = max(o.tally.Slowest, now.Sub(q.at))
	switch {
	case strings.HasPrefix(answer, "TEMP "):
		o.tally.Temporary++
		return true
	case answer == "NOTFOUND ":
		if mayBeNone(issues, q.floor, now) {
			return true
		}
		o.tally.Lost++
		return o.fault("%s: none, but policy %d had been answered", q.Domain, q.floor)
	}
	o.tally.Policies++
	n := world.PolicyOf(q.Domain, answer)
	if why := wrong(issues, n, q); why != "" {
		o.tally.Wrong++
		return o.fault("%s: %q: %s", q.Domain, answer, why)
	}
	o.answered[q.Domain] = max(o.answered[q.Domain], n)
	return true
}

// fault notes a fault and returns false.
func (o *Oracle) fault(format string, args ...any) bool {
	if len(o.tally.Faults) < maxFaults {
		o.tally.Faults = append(o.tally.Faults, fmt.Sprintf(format, args...))
	}
	return false
}

// mayBeNone reports whether "no policy" may be answered at now for a domain whose policy floor (0: none) was answered
// before. It may if a newer policy binds nobody, or if that policy may have expired, which it has not before its first
// fetch + max_age.
func mayBeNone(issues []world.Issue, floor int, now time.Time) bool {
	if floor == 0 {
		return true
	}
	for _, i := range issues {
		// never fetched: a test put it into the store
		over := !i.First.IsZero() && now.After(i.First.Add(i.Lifetime()).Add(-clockSlack))
		if i.Mode != "" || i.Policy == floor && over {
			return true
		}
	}
	return false
}

// wrong returns what is wrong with answering policy n, or "".
func wrong(issues []world.Issue, n int, q Question) string {
	for _, i := range issues {
		switch {
		case i.Policy != n:
		case i.Mode != "":
			return "its mode is " + i.Mode
		case !i.Last.IsZero() && q.at.After(i.Last.Add(i.Lifetime()).Add(clockSlack)):
			return fmt.Sprintf("it was over %v before the question", q.at.Sub(i.Last.Add(i.Lifetime())))
		default:
			return ""
		}
	}
	if n > 0 && n < q.floor {
		return fmt.Sprintf("policy %d had been answered", q.floor)
	}
	return "no policy that was published"
}

// Known returns the domains of which a policy was answered.
func (o *Oracle) Known() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := make([]string, 0, len(o.answered))
	for domain := range o.answered {
		known = append(known, domain)
	}
	return known
}

// Note notes that a policy counts as answered because a test has put it into the store.
func (o *Oracle) Note(domain string, policy int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered[domain] = max(o.answered[domain], policy)
}

// Forget removes a domain that the daemon was told to forget.
func (o *Oracle) Forget(domain string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.answered, domain)
}

// Tally returns the counts so far.
func (o *Oracle) Tally() Tally {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tally
}

// Reset sets the counts to zero. The oracle still knows what was answered.
func (o *Oracle) Reset() Tally {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.tally
	o.tally = Tally{}
	return was
}
