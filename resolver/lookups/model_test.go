package lookups

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// model says what a stage must do, by the rules of the package comment and without concurrency.
type model struct {
	runs    int
	running *modelRun
	queue   []*modelRun
	closing int // callers of Close who wait
	closed  bool
}

type modelRun struct {
	writer  string // "": a lookup
	n       int
	reason  Reason // once begun
	callers []modelCaller
}

type modelCaller struct {
	name   string
	reason Reason
	joined bool
}

func (m *model) do(step string) (events []string) {
	words := strings.Fields(step)
	switch name := words[0]; {
	case name == "close":
		events = m.close()
	case len(words) == 1:
		events = m.end(name)
	case words[1] == "leaves":
		events = m.leave(name)
	case words[1] == "excludes":
		events = m.enter(&modelRun{writer: name})
	default:
		events = m.ask(modelCaller{name: name, reason: reasonOf(words[2])})
	}
	slices.Sort(events)
	return events
}

func (m *model) ask(c modelCaller) []string {
	if r := m.running; r != nil && !m.closed && r.writer == "" && r.reason >= c.reason {
		c.joined = true
		r.callers = append(r.callers, c)
		return nil
	}
	for _, r := range m.queue {
		if r.writer == "" {
			r.callers = append(r.callers, c)
			return nil
		}
	}
	return m.enter(&modelRun{callers: []modelCaller{c}})
}

func (m *model) enter(r *modelRun) []string {
	if m.closed {
		return r.outcome("closed")
	}
	m.queue = append(m.queue, r)
	return m.begin()
}

// begin begins the first that waits, when nothing runs.
func (m *model) begin() []string {
	if m.running != nil || len(m.queue) == 0 {
		return nil
	}
	r := m.queue[0]
	m.running, m.queue = r, m.queue[1:]
	if r.writer != "" {
		return []string{r.writer + " has the line"}
	}
	m.runs++
	r.n = m.runs
	for _, c := range r.callers {
		r.reason = max(r.reason, c.reason)
	}
	return []string{fmt.Sprintf("run %d for %v", r.n, r.reason)}
}

// outcome is what all get for whom the run was.
func (r *modelRun) outcome(what string) (events []string) {
	if r.writer != "" {
		return []string{fmt.Sprintf("%s got %s", r.writer, what)}
	}
	for _, c := range r.callers {
		if c.joined && what != "panic" {
			events = append(events, fmt.Sprintf("%s got %s joined", c.name, what))
		} else {
			events = append(events, fmt.Sprintf("%s got %s", c.name, what))
		}
	}
	return events
}

func (m *model) end(order string) []string {
	r := m.running
	m.running = nil
	what := fmt.Sprint(r.n)
	var events []string
	if order != "finish" {
		what, events = "panic", []string{"fault"}
	}
	events = append(append(events, r.outcome(what)...), m.begin()...)
	for ; m.running == nil && m.closing > 0; m.closing-- {
		events = append(events, "closed")
	}
	return events
}

func (m *model) leave(name string) []string {
	isCaller := func(c modelCaller) bool { return c.name == name }
	if r := m.running; r != nil && slices.ContainsFunc(r.callers, isCaller) {
		r.callers = slices.DeleteFunc(r.callers, isCaller)
		return []string{name + " got left"}
	}
	for i, r := range m.queue {
		waits := slices.ContainsFunc(r.callers, isCaller)
		r.callers = slices.DeleteFunc(r.callers, isCaller)
		if r.writer == name || waits && len(r.callers) == 0 {
			m.queue = slices.Delete(m.queue, i, i+1)
		}
		if r.writer == name || waits {
			return []string{name + " got left"}
		}
	}
	return nil
}

func (m *model) close() (events []string) {
	for _, r := range m.queue {
		events = append(events, r.outcome("closed")...)
	}
	m.queue = nil
	if m.running == nil {
		m.closed = true
		return append(events, "closed")
	}
	if m.running.writer == "" && !m.closed {
		events = append(events, fmt.Sprintf("run %d is told to end", m.running.n))
	}
	m.closed = true
	m.closing++
	return events
}

// TestRandomScripts plays random scripts on a Group and on the model. Both must do the same at each step, and at the
// end all have got something and no memory remains.
func TestRandomScripts(t *testing.T) {
	for seed := range uint64(500) {
		synctest.Test(t, func(t *testing.T) {
			s, m, random := newStage(t), &model{}, rand.New(rand.NewPCG(seed, 14))
			var played []string
			play := func(step string) {
				played = append(played, step)
				if got, want := s.do(step), m.do(step); !slices.Equal(got, want) {
					t.Fatalf("seed %d:\n%s: %q, want %q", seed, strings.Join(played, "\n"), got, want)
				}
			}
			var callers []string // those who may leave: all but Start's
			for i := range 40 {
				play(m.randomStep(random, fmt.Sprintf("c%02d", i), &callers))
			}
			for m.running != nil {
				play("finish")
			}
			s.over()
		})
	}
}

func (m *model) randomStep(random *rand.Rand, name string, callers *[]string) string {
	switch at := random.IntN(100); {
	case at < 35:
		*callers = append(*callers, name)
		return fmt.Sprintf("%s asks %v", name, Reason(random.IntN(int(reasons))))
	case at < 45:
		return fmt.Sprintf("%s starts %v", name, Reason(random.IntN(int(reasons))))
	case at < 55:
		*callers = append(*callers, name)
		return name + " excludes"
	case at < 70 && len(*callers) > 0:
		i := random.IntN(len(*callers))
		name := (*callers)[i]
		*callers = slices.Delete(*callers, i, i+1)
		return name + " leaves"
	case at == 99:
		return "close"
	case m.running == nil:
		*callers = append(*callers, name)
		return name + " asks question"
	default:
		return []string{"finish", "finish", "finish", "panic", "goexit"}[random.IntN(5)]
	}
}
