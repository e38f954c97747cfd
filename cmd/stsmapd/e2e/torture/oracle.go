package torture

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// clockSlack is what may lie between a policy's end as the oracle reckons it and as stsmapd does, which keeps times to
// the millisecond and parts of a second of max_age not at all.
const clockSlack = time.Second

// Oracle judges answers. All methods may be called from any goroutine.
type Oracle struct {
	pubs *world.Publishers

	mu       sync.Mutex
	answered map[string]int // number of the newest policy that was answered, by domain
	tally    Tally
}

// Tally counts answers by what the oracle thought of them.
type Tally struct {
	Questions int // answered or not
	Policies  int // answers with a policy
	Wrong     int // answers that must never be given
	Lost      int // of a policy that was answered before and lives: "there is none"
	Temporary int // TEMP: ask again
	Closed    int // no answer at all
	Slowest   time.Duration
	Faults    []string // the first few wrong answers and lost policies
}

// maxFaults bounds Tally.Faults.
const maxFaults = 10

// NewOracle begins with nothing answered.
func NewOracle(p *world.Publishers) *Oracle { return &Oracle{pubs: p, answered: map[string]int{}} }

// Question is a question that was asked.
type Question struct {
	Domain string
	at     time.Time
	floor  int // the newest policy that had been answered before
}

// Ask notes a question that is about to be asked, with the map name sts.
func (o *Oracle) Ask(domain string) Question {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Question{domain, time.Now(), o.answered[domain]}
}

// Unanswered notes a question that got no answer.
func (o *Oracle) Unanswered(Question) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.Questions++
	o.tally.Closed++
}

// Judge notes the answer to a question, "OK secure …" or "NOTFOUND ", and reports whether it was a good one; TEMP is.
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

// fault notes what was wrong, and returns false.
func (o *Oracle) fault(format string, args ...any) bool {
	if len(o.tally.Faults) < maxFaults {
		o.tally.Faults = append(o.tally.Faults, fmt.Sprintf(format, args...))
	}
	return false
}

// mayBeNone reports whether "no policy" is a possible answer at now for a domain whose policy floor (0: none) had been
// answered: if a newer one asks for nothing, or if that one may be over, which it is not before its first fetch +
// max_age.
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

// wrong says what is wrong with answering policy n; "": nothing.
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

// Note takes down that a policy counts as answered, though nobody asked: a test has put it into the store.
func (o *Oracle) Note(domain string, policy int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered[domain] = max(o.answered[domain], policy)
}

// Forget forgets a domain, as the daemon was told to.
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

// Reset begins to count anew; what was answered is remembered.
func (o *Oracle) Reset() Tally {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.tally
	o.tally = Tally{}
	return was
}
