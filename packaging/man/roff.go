package man

import (
	"fmt"
	"strings"
)

// page is a manual page that is being written, in roff with the macros of man(7).
type page struct{ strings.Builder }

// newPage begins a page: a program or file, its section, and what it is in one line.
func newPage(name string, section int, short string) *page {
	p := &page{}
	fmt.Fprintf(p, ".\\\" Made by packaging/man; do not edit.\n.TH %s %d \"\" stsmapd\n.nh\n",
		escape(strings.ToUpper(name)), section)
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", escape(name), escape(short))
	return p
}

func (p *page) section(title string) { fmt.Fprintf(p, ".SH %s\n", escape(title)) }

// item is a term with its explanation.
func (p *page) item(term, text string) {
	fmt.Fprintf(p, ".TP\n\\fB%s\\fR\n", escape(term))
	p.text(text, ".IP\n")
}

// prose writes paragraphs of plain text, which blank lines part. Indented lines stay as they are.
func (p *page) prose(text string) { p.text(text, ".PP\n") }

// text is prose with this macro between its paragraphs.
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

// fill switches between text that is broken anew, and lines that stay.
func (p *page) fill(on bool) {
	if on {
		p.WriteString(".fi\n")
		return
	}
	p.WriteString(".nf\n")
}

// line writes a line of text; one that begins as a request of roff's does is none.
func (p *page) line(text string) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		p.WriteString(`\&`)
	}
	p.WriteString(escape(text) + "\n")
}

// escape makes characters that mean something to roff, or that it would set as others, stand for themselves.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "'", `\(aq`, `"`, `\(dq`,
		"…", `...`).Replace(text)
}
