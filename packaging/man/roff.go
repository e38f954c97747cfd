package man

import (
	"fmt"
	"strings"
)

// page is a manual page under construction, in roff with the macros of man(7).
type page struct{ strings.Builder }

// newPage starts a page for a program or file, with its section and a one-line description.
func newPage(name string, section int, short string) *page {
	p := &page{}
	fmt.Fprintf(p, ".\\\" Made by packaging/man; do not edit.\n.TH %s %d \"\" stsmapd\n.nh\n",
		escape(strings.ToUpper(name)), section)
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", escape(name), escape(short))
	return p
}

func (p *page) section(title string) { fmt.Fprintf(p, ".SH %s\n", escape(title)) }

// item writes a term with its explanation.
func (p *page) item(term, text string) {
	fmt.Fprintf(p, ".TP\n\\fB%s\\fR\n", escape(term))
	p.text(text, ".IP\n")
}

// prose writes plain text: paragraphs separated by blank lines. Indented lines are not filled.
func (p *page) prose(text string) { p.text(text, ".PP\n") }

// text is prose with the macro next between its paragraphs.
func (p *page) text(text, next string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			p.WriteString(next)
		}
		verbatim := false
		for line := range strings.Lines(paragraph) {
			if isVerbatim := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"); isVerbatim != verbatim {
				verbatim = isVerbatim
				p.fill(!verbatim)
			}
			p.line(strings.TrimRight(line, "\n"))
		}
		if verbatim {
			p.fill(true)
		}
	}
}

// fill switches filling of lines on and off.
func (p *page) fill(on bool) {
	if on {
		p.WriteString(".fi\n")
		return
	}
	p.WriteString(".nf\n")
}

// line writes a line of text, which is never a request of roff.
func (p *page) line(text string) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		p.WriteString(`\&`)
	}
	p.WriteString(escape(text) + "\n")
}

// escape escapes the characters that roff would interpret or replace.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "'", `\(aq`, `"`, `\(dq`,
		"…", `...`).Replace(text)
}
