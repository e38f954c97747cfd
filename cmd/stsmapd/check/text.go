package check

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// labelWidth is the width of the labels.
const labelWidth = 18

// Text is a Watcher that prints each part of a report as soon as it is complete. The last line is Result.Summary. Err
// is the first error of writing.
type Text struct {
	*term.Sheet
	waiting *term.Waiting
}

// NewText returns a Text that prints to w. waiting, which may be nil, is erased before each part.
func NewText(w io.Writer, waiting *term.Waiting) *Text {
	return &Text{Sheet: term.NewPage(w, labelWidth), waiting: waiting}
}

// row writes one row. What is formatted may come from the network.
func (t *Text) row(label string, m term.Mark, format string, args ...any) {
	t.Row(label, m, fmt.Sprintf(format, args...))
}

// Doing implements Watcher.
func (t *Text) Doing(what string) { t.waiting.Show(what) }

// Done implements Watcher.
func (t *Text) Done(step Step, r *Report) {
	t.waiting.Clear()
	switch step {
	case StepRecord:
		t.Print(term.Clean(r.NextHop) + "\n")
		t.record(r.Record)
	case StepPolicy:
		t.policy(r)
	case StepMX:
		t.mx(r.MX)
	case StepHost:
		t.host(r.At, r.MX.Hosts[len(r.MX.Hosts)-1])
	case StepDANE:
		t.dane(r.DANE)
	case StepTLSRPT:
		t.tlsrpt(r.TLSRPT)
	case StepAnswers:
		t.answers(r.Answers)
	case StepAdvice:
		t.advice(r.Advice)
	case StepResult:
		t.Print("\n" + term.Clean(r.Result.Summary))
	}
}

func (t *Text) record(r Record) {
	switch r.Status {
	case Found:
		t.row("TXT record", term.OK, "%s", r.Name)
		t.row("  id", term.NoMark, "%s, TTL %v", r.ID, time.Duration(r.TTL)*time.Second)
	case NoRecord:
		t.row("TXT record", term.Note, "%s: there is none", r.Name)
	default:
		t.row("TXT record", term.Fail, "%s: %s", r.Name, r.Error)
	}
	if r.Alias != "" {
		t.row("  alias of", term.NoMark, "%s", r.Alias)
	}
	for _, text := range r.Texts {
		t.row("  text", term.NoMark, "%s", cut(text, 600))
	}
}

func (t *Text) policy(r *Report) {
	if p := r.Policy; p != nil {
		t.Print("")
		verdict := term.OK
		if p.Status != "ok" {
			verdict = term.Fail
		}
		t.row("policy", verdict, "%s", p.URL)
		if p.Status != "ok" {
			t.row("", term.NoMark, "%s", p.reason)
		}
		t.row("  addresses", term.NoMark, "%s", orNone(p.Addresses))
		if p.Via != "" {
			t.row("  connected", term.NoMark, "%s", p.Via)
		}
		t.tls(r.At, p.TLS, p.Status == "certificate")
		t.lines(p.Lines)
	}
	if o := r.Override; o != nil {
		t.row("override", term.Note, "of %s in this stsmapd's configuration: %s%s", o.Domain,
			strings.Join(append([]string{o.Action}, o.MX...), " "), reasonSuffix(o.Reason))
	}
}

// maxShown is the number of lines of a policy file that are printed. Usual files have about ten.
const maxShown = 60

func (t *Text) lines(lines []Line) {
	if len(lines) > 0 {
		t.row("  file", term.NoMark, "%s", term.Plural(len(lines), "line"))
	}
	for i, l := range lines {
		label := fmt.Sprintf("%6d", l.Number)
		switch {
		case i == maxShown:
			t.row("", term.NoMark, "… and %d more lines", len(lines)-i)
			return
		case l.Verdict == "ok":
			t.row(label, term.OK, "%s", cut(l.Text, 300))
		case l.Verdict == "wrong":
			t.row(label, term.Fail, "%s", cut(l.Text, 300))
			t.row("", term.NoMark, "^ %s", l.Error)
		case l.Verdict == "blank":
			t.row(label, term.NoMark, "")
		default:
			t.row(label, term.Note, "%s", cut(l.Text, 300))
			t.row("", term.NoMark, "^ %s field, ignored", l.Verdict)
		}
	}
}

// tls prints a TLS connection. failed marks its certificate as the fault.
func (t *Text) tls(now time.Time, c *TLS, failed bool) {
	if c == nil {
		return
	}
	if c.Version != "" {
		t.row("  TLS", term.NoMark, "%s, %s", c.Version, c.Cipher)
	}
	verdict := term.OK
	if failed {
		verdict = term.Fail
	}
	var above Certificate
	for i, cert := range c.Certificates {
		switch {
		case i == 0:
			t.row("  certificate", verdict, "%s", cut(orNone(cert.Names), 600))
		case cert.Subject == above.Issuer:
			t.row("    issued by", term.NoMark, "%s", cut(cert.Subject, 300))
		default:
			t.row("    also sent", term.NoMark, "%s", cut(cert.Subject, 300))
		}
		t.row("", term.NoMark, "until %s (%s)", day(cert.NotAfter), inDays(cert.NotAfter.Sub(now)))
		above = cert
	}
	if above.Issuer != above.Subject {
		t.row("    issued by", term.NoMark, "%s", cut(above.Issuer, 300))
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
