package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

func readReply(text string) (reply, error) {
	s := &session{r: bufio.NewReaderSize(strings.NewReader(text), maxReplyLine)}
	return s.read()
}

// replies are texts of servers; want is "code: line|line", or what is wrong.
var replies = []struct{ why, text, want string }{
	{"one line", "220 mx.example.org ESMTP\r\nmore", "220: 220 mx.example.org ESMTP"},
	{"several", "250-mx\r\n250-SIZE 1\r\n250 STARTTLS\r\n", "250: 250-mx|250-SIZE 1|250 STARTTLS"},
	{"no text", "250\r\n", "250: 250 "},
	{"no text, and more", "250-\r\n250\r\n", "250: 250-|250 "},
	{"LF alone", "220 mx\n", "220: 220 mx"},
	{"another code in the second line", "250-a\r\n251 b\r\n", `does not speak SMTP: it sends "251 b"`},
	{"no code", "hello\r\n", `does not speak SMTP: it sends "hello"`},
	{"too short", "25\r\n", `does not speak SMTP: it sends "25"`},
	{"empty", "\r\n", `does not speak SMTP: it sends ""`},
	{"a code that SMTP does not have", "999 x\r\n", `does not speak SMTP: it sends "999 x"`},
	{"four digits", "2200 x\r\n", `does not speak SMTP: it sends "2200 x"`},
	{"cut off", "220 mx", "EOF"},
	{"cut off between lines", "220-mx\r\n", "EOF"},
	{"nothing", "", "EOF"},
	{"a line without an end", strings.Repeat("2", 5000),
		`does not speak SMTP: it sends "` + strings.Repeat("2", 100) + `…"`},
	{"lines without an end", strings.Repeat("220-x\r\n", 5000),
		`does not speak SMTP: it sends "a reply of more than 100 lines"`},
}

func TestReadReply(t *testing.T) {
	for _, c := range replies {
		r, err := readReply(c.text)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%d: %s", r.code, strings.Join(r.lines, "|"))
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, c := range replies {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readReply(text)
		var garbage *notSMTP
		switch {
		case err == nil:
			if r.code < 200 || r.code > 599 || len(r.lines) == 0 || len(r.lines) > maxReplyLines {
				t.Errorf("%q is read as %+v", text, r)
			}
			for _, line := range r.lines {
				if len(line) < 4 || len(line) > maxReplyLine || !strings.Contains(text, strings.TrimRight(line, " ")) {
					t.Errorf("%q has a line %q", text, line)
				}
			}
		case !errors.As(err, &garbage) && !errors.Is(err, io.EOF):
			t.Errorf("%q: error %v (%T)", text, err, err)
		case err.Error() != term.Clean(err.Error()) || len(err.Error()) > 600:
			t.Errorf("%q: error %q", text, err)
		}
	})
}

// TestCancelled: a check that is broken off ends at once and prints nothing that it does not know.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	w.publish(policy("enforce", mx1))
	w.mx(mx1)
	w.lead(w.address(mx1), 25, "")
	ctx, cancel := context.WithCancel(t.Context())
	var steps []Step
	watcher := watcherFunc{
		doing: func(what string) {
			if strings.HasPrefix(what, "talking") {
				cancel()
			}
		},
		done: func(s Step) { steps = append(steps, s) },
	}
	New(w.opts).Check(ctx, w.destination(), watcher) // the MX host would keep it waiting until all is over
	if len(steps) != 3 || steps[2] != StepMX {
		t.Errorf("steps %v, want record, policy and MX", steps)
	}
	reported := 0
	New(w.opts).All(ctx, manyTimes(w.destination(), 20), func(*Report) { reported++ })
	if reported != 0 {
		t.Errorf("%d reports after the end", reported)
	}
}

type watcherFunc struct {
	doing func(string)
	done  func(Step)
}

func (w watcherFunc) Doing(what string)         { w.doing(what) }
func (w watcherFunc) Done(step Step, _ *Report) { w.done(step) }
