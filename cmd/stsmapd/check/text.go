package check

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Style is the style of printed text.
type Style struct {
	Colour bool // for a terminal
}

// mark is the word before a text that rates it.
type mark string

const (
	markNone mark = ""
	markOK   mark = "ok"
	markFail mark = "FAIL"
	markNote mark = "note"
)

func (s Style) paint(m mark) string {
	text := fmt.Sprintf("%-5s", m)
	if !s.Colour {
		return text
	}
	return term.Paint(map[mark]string{markOK: term.Green, markFail: term.Red, markNote: term.Yellow}[m], text)
}

const (
	labelWidth = 18
	textColumn = labelWidth + 5
)

// columns writes lines of three columns: a label, a mark and a text, wrapped.
type columns struct {
	w     io.Writer
	style Style
	err   error // first error of w
}

func (p *columns) print(text string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, text)
	}
}

// row writes one row. All columns may contain untrusted text.
func (p *columns) row(label string, m mark, format string, args ...any) {
	label = term.Clean(label)
	text := term.Clean(fmt.Sprintf(format, args...))
	for i, line := range term.Wrap(text, term.Columns(p.w)-textColumn) {
		if i > 0 {
			label, m = "", markNone
		}
		head := fmt.Sprintf("%-*s%s", labelWidth, label, p.style.paint(m))
		if len(label) >= labelWidth {
			p.print(label + "\n")
			head = strings.Repeat(" ", labelWidth) + p.style.paint(m)
		}
		p.print(strings.TrimRight(head+line, " ") + "\n")
	}
}

// Text is a Watcher that prints each part of a report as soon as it is complete. The last line is Result.Summary.
type Text struct {
	columns
	progress *Progress
}

// NewText returns a Text that prints to w. progress, which may be nil, is erased before each part.
func NewText(w io.Writer, style Style, progress *Progress) *Text {
	return &Text{columns: columns{w: w, style: style}, progress: progress}
}

// Err returns the first error of writing.
func (t *Text) Err() error { return t.err }

// Doing implements Watcher.
func (t *Text) Doing(what string) { t.progress.Show(what) }

// Done implements Watcher.
func (t *Text) Done(step Step, r *Report) {
	t.progress.Clear()
	switch step {
	case StepRecord:
		t.print(term.Clean(r.NextHop) + "\n\n")
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
		t.print("\n" + term.Clean(r.Result.Summary) + "\n")
	}
}

func (t *Text) record(r Record) {
	switch r.Status {
	case Found:
		t.row("TXT record", markOK, "%s", r.Name)
		t.row("  id", markNone, "%s, TTL %v", r.ID, time.Duration(r.TTL)*time.Second)
	case NoRecord:
		t.row("TXT record", markNote, "%s: there is none", r.Name)
	default:
		t.row("TXT record", markFail, "%s: %s", r.Name, r.Error)
	}
	if r.Alias != "" {
		t.row("  alias of", markNone, "%s", r.Alias)
	}
	for _, text := range r.Texts {
		t.row("  text", markNone, "%s", cut(text, 600))
	}
}

func (t *Text) policy(r *Report) {
	if p := r.Policy; p != nil {
		t.print("\n")
		verdict := markOK
		if p.Status != "ok" {
			verdict = markFail
		}
		t.row("policy", verdict, "%s", p.URL)
		if p.Status != "ok" {
			t.row("", markNone, "%s", p.reason)
		}
		t.row("  addresses", markNone, "%s", orNone(p.Addresses))
		if p.Via != "" {
			t.row("  connected", markNone, "%s", p.Via)
		}
		t.tls(r.At, p.TLS, p.Status == "certificate")
		t.lines(p.Lines)
	}
	if o := r.Override; o != nil {
		t.row("override", markNote, "of %s in this stsmapd's configuration: %s%s", o.Domain,
			strings.Join(append([]string{o.Action}, o.MX...), " "), reasonSuffix(o.Reason))
	}
}

// maxShown is the number of lines of a policy file that are printed. Usual files have about ten.
const maxShown = 60

func (t *Text) lines(lines []Line) {
	if len(lines) > 0 {
		t.row("  file", markNone, "%s", term.Plural(len(lines), "line"))
	}
	for i, l := range lines {
		label := fmt.Sprintf("%6d", l.Number)
		switch {
		case i == maxShown:
			t.row("", markNone, "… and %d more lines", len(lines)-i)
			return
		case l.Verdict == "ok":
			t.row(label, markOK, "%s", cut(l.Text, 300))
		case l.Verdict == "wrong":
			t.row(label, markFail, "%s", cut(l.Text, 300))
			t.row("", markNone, "^ %s", l.Error)
		case l.Verdict == "blank":
			t.row(label, markNone, "")
		default:
			t.row(label, markNote, "%s", cut(l.Text, 300))
			t.row("", markNone, "^ %s field, ignored", l.Verdict)
		}
	}
}

// tls prints a TLS connection. failed marks its certificate as the fault.
func (t *Text) tls(now time.Time, c *TLS, failed bool) {
	if c == nil {
		return
	}
	if c.Version != "" {
		t.row("  TLS", markNone, "%s, %s", c.Version, c.Cipher)
	}
	verdict := markOK
	if failed {
		verdict = markFail
	}
	var above Certificate
	for i, cert := range c.Certificates {
		switch {
		case i == 0:
			t.row("  certificate", verdict, "%s", cut(orNone(cert.Names), 600))
		case cert.Subject == above.Issuer:
			t.row("    issued by", markNone, "%s", cut(cert.Subject, 300))
		default:
			t.row("    also sent", markNone, "%s", cut(cert.Subject, 300))
		}
		t.row("", markNone, "until %s (%s)", day(cert.NotAfter), inDays(cert.NotAfter.Sub(now)))
		above = cert
	}
	if above.Issuer != above.Subject {
		t.row("    issued by", markNone, "%s", cut(above.Issuer, 300))
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
