package lookups

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// stage plays a script, a step at a time, on a Group in which one key is looked up. Each run waits for its order:
// "finish", "panic" or "goexit". Steps are
//
//	NAME asks REASON | NAME starts REASON | NAME excludes | NAME leaves | finish | panic | goexit | close
//
// and do returns what happened, in alphabetical order:
//
//	run N for REASON; run N is told to end; NAME has the line; fault;
//	NAME got N; NAME got N joined; NAME got ERROR; closed
type stage struct {
	t      *testing.T
	group  *Group[string, int]
	orders chan string
	leave  map[string]context.CancelFunc

	mu     sync.Mutex
	runs   int
	events []string
	absent map[string]bool // who has not got anything yet
}

var errLeft = errors.New("left")

func newStage(t *testing.T) *stage {
	s := &stage{t: t, orders: make(chan string), leave: map[string]context.CancelFunc{}, absent: map[string]bool{}}
	s.group = New(s.lookUp, func(key string, err *PanicError) {
		s.note("fault")
		known := err.Value == "on order" || err.Value == "runtime.Goexit was called"
		if key != "key" || !known || !strings.Contains(err.Stack, "obey") {
			t.Errorf("the hook was told of key %q, %v, stack %s", key, err, err.Stack)
		}
	})
	return s
}

func (s *stage) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *stage) lookUp(ctx context.Context, _ string, reason Reason) int {
	s.mu.Lock()
	s.runs++
	n := s.runs
	s.mu.Unlock()
	s.note("run %d for %v", n, reason)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), ErrClosed) {
			s.t.Errorf("the context of a lookup ended because of %v", context.Cause(ctx))
		}
		s.note("run %d is told to end", n)
	})
	defer stop()
	s.obey()
	return n
}

func (s *stage) obey() {
	switch <-s.orders {
	case "panic":
		panic("on order")
	case "goexit":
		runtime.Goexit()
	}
}

// deliver notes what somebody got.
func (s *stage) deliver(name string, r Result[int], err error) {
	var fault *PanicError
	what := "?"
	switch {
	case err == nil && r.Joined:
		what = fmt.Sprint(r.Value, " joined")
	case err == nil:
		what = fmt.Sprint(r.Value)
	case errors.Is(err, ErrClosed):
		what = "closed"
	case errors.Is(err, errLeft):
		what = "left"
	case errors.As(err, &fault):
		what = "panic"
	}
	s.note("%s got %s", name, what)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.absent[name] {
		s.t.Errorf("%s got something twice", name)
	}
	delete(s.absent, name)
}

// do plays a step and returns what happened until nothing moved any more.
func (s *stage) do(step string) []string {
	words := strings.Fields(step)
	name := words[0]
	switch {
	case len(words) == 1 && name == "close":
		go func() { s.group.Close(); s.note("closed") }()
	case len(words) == 1:
		s.orders <- name
	case words[1] == "leaves":
		s.leave[name]()
	default:
		ctx, cancel := context.WithCancelCause(context.Background())
		s.absent[name] = true
		s.leave[name] = func() { cancel(errLeft) }
		s.enter(ctx, name, words[1:])
	}
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	slices.Sort(events)
	return events
}

func (s *stage) enter(ctx context.Context, name string, words []string) {
	switch words[0] {
	case "asks":
		go func() {
			r, err := s.group.Ask(ctx, "key", reasonOf(words[1]))
			s.deliver(name, r, err)
		}()
	case "starts":
		ticket := s.group.Start("key", reasonOf(words[1]))
		go func() {
			<-ticket.Done()
			r, err := ticket.Result()
			s.deliver(name, r, err)
		}()
	case "excludes":
		go func() {
			err := error(&PanicError{}) // stays after a Goexit: then Exclusive does not return
			defer func() { s.deliver(name, Result[int]{}, err) }()
			err = s.group.Exclusive(ctx, "key", func() {
				s.note("%s has the line", name)
				s.obey()
			})
		}()
	default:
		s.t.Fatalf("%s: no such step", words)
	}
}

// over fails the test when something remains that should not.
func (s *stage) over() {
	s.t.Helper()
	if len(s.absent) > 0 {
		s.t.Errorf("forgotten: %v", s.absent)
	}
	if n := len(s.group.lines); n > 0 {
		s.t.Errorf("%d keys are still in memory", n)
	}
}

func reasonOf(word string) Reason {
	for r := range reasons {
		if r.String() == word {
			return r
		}
	}
	panic(word)
}
