package check

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Style is how text is written.
type Style struct {
	Colour bool // for a terminal
}

// mark says at a glance what a line means.
type mark string

const (
	noMark mark = ""
	good   mark = "ok"
	bad    mark = "FAIL"
	mind   mark = "note"
)

func (s Style) paint(m mark) string {
	text := fmt.Sprintf("%-5s", m)
	if !s.Colour || m == noMark {
		return text
	}
	return map[mark]string{good: "\x1b[32m", bad: "\x1b[1;31m", mind: "\x1b[33m"}[m] + text + "\x1b[0m"
}

const (
	width      = 80 // columns
	labelWidth = 18
	textColumn = labelWidth + 5
)

// page writes lines of three columns: a label, a mark and a text, wrapped to 80 columns in all.
type page struct {
	w     io.Writer
	style Style
	err   error // the first of w
}

func (p *page) print(text string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, text)
	}
}

// row writes one row. A text of a stranger may be in any of the columns.
func (p *page) row(label string, m mark, format string, args ...any) {
	label = clean(label)
	text := clean(fmt.Sprintf(format, args...))
	for i, line := range wrap(text, width-textColumn) {
		if i > 0 {
			label, m = "", noMark
		}
		head := fmt.Sprintf("%-*s%s", labelWidth, label, p.style.paint(m))
		if len(label) >= labelWidth {
			p.print(label + "\n")
			head = strings.Repeat(" ", labelWidth) + p.style.paint(m)
		}
		p.print(strings.TrimRight(head+line, " ") + "\n")
	}
}

// wrap breaks a text at spaces into lines of at most so many characters; a longer word has a line of its own, unbroken.
func wrap(text string, limit int) []string {
	var lines []string
	line, length := "", 0
	for word := range strings.SplitSeq(text, " ") {
		n := len([]rune(word))
		switch {
		case length == 0:
			line, length = word, n
		case length+1+n > limit:
			lines = append(lines, line)
			line, length = word, n
		default:
			line, length = line+" "+word, length+1+n
		}
	}
	return append(lines, line)
}

// Text is a Watcher that prints each part of a report as soon as it is there. The last line says in plain words what
// would become of a mail.
type Text struct {
	page
	progress *Progress
}

// NewText makes a Text that prints to w. progress is erased before each part; nil: there is none.
func NewText(w io.Writer, style Style, progress *Progress) *Text {
	return &Text{page: page{w: w, style: style}, progress: progress}
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
		t.print(clean(r.NextHop) + "\n\n")
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
		t.print("\n" + clean(r.Result.Summary) + "\n")
	}
}

func (t *Text) record(r Record) {
	switch r.Status {
	case Found:
		t.row("TXT record", good, "%s", r.Name)
		t.row("  id", noMark, "%s, TTL %v", r.ID, time.Duration(r.TTL)*time.Second)
	case NotThere:
		t.row("TXT record", mind, "%s: there is none", r.Name)
	default:
		t.row("TXT record", bad, "%s: %s", r.Name, r.Error)
	}
	if r.Alias != "" {
		t.row("  alias of", noMark, "%s", r.Alias)
	}
	for _, text := range r.Texts {
		t.row("  text", noMark, "%s", cut(text, 600))
	}
}

func (t *Text) policy(r *Report) {
	if p := r.Policy; p != nil {
		t.print("\n")
		verdict := good
		if p.Status != "ok" {
			verdict = bad
		}
		t.row("policy", verdict, "%s", p.URL)
		if p.Status != "ok" {
			t.row("", noMark, "%s", p.reason)
		}
		t.row("  addresses", noMark, "%s", orNone(p.Addresses))
		if p.Via != "" {
			t.row("  connected", noMark, "%s", p.Via)
		}
		t.tls(r.At, p.TLS, p.Status == "certificate")
		t.lines(p.Lines)
	}
	if o := r.Override; o != nil {
		t.row("override", mind, "of %s in this stsmapd's configuration: %s%s", o.Domain,
			strings.Join(append([]string{o.Action}, o.MX...), " "), because(o.Reason))
	}
}

// maxShown is how many lines of a policy file are printed; real ones have some ten.
const maxShown = 60

func (t *Text) lines(lines []Line) {
	if len(lines) > 0 {
		t.row("  file", noMark, "%s", plural(len(lines), "line"))
	}
	for i, l := range lines {
		label := fmt.Sprintf("%6d", l.Number)
		switch {
		case i == maxShown:
			t.row("", noMark, "… and %d more lines", len(lines)-i)
			return
		case l.Verdict == "ok":
			t.row(label, good, "%s", cut(l.Text, 300))
		case l.Verdict == "wrong":
			t.row(label, bad, "%s", cut(l.Text, 300))
			t.row("", noMark, "^ %s", l.Error)
		case l.Verdict == "blank":
			t.row(label, noMark, "")
		default:
			t.row(label, mind, "%s", cut(l.Text, 300))
			t.row("", noMark, "^ %s field, ignored", l.Verdict)
		}
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// tls prints a connection's; failed: its certificate is the fault.
func (t *Text) tls(now time.Time, c *TLS, failed bool) {
	if c == nil {
		return
	}
	if c.Version != "" {
		t.row("  TLS", noMark, "%s, %s", c.Version, c.Cipher)
	}
	verdict := good
	if failed {
		verdict = bad
	}
	var above Certificate
	for i, cert := range c.Certificates {
		switch {
		case i == 0:
			t.row("  certificate", verdict, "%s", cut(orNone(cert.Names), 600))
		case cert.Subject == above.Issuer:
			t.row("    issued by", noMark, "%s", cut(cert.Subject, 300))
		default:
			t.row("    also sent", noMark, "%s", cut(cert.Subject, 300))
		}
		t.row("", noMark, "until %s (%s)", day(cert.NotAfter), inDays(cert.NotAfter.Sub(now)))
		above = cert
	}
	if above.Issuer != above.Subject {
		t.row("    issued by", noMark, "%s", cut(above.Issuer, 300))
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
