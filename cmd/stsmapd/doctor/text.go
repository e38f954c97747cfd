package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// indent is how far the lines after a text's first are indented.
const indent = 4

// colour returns the colour of a finding's label.
func (s Severity) colour() string {
	return map[Severity]string{Error: term.Red, Warning: term.Yellow, Note: term.Bold}[s]
}

// Write writes the findings as text. The flags are those of Postfix's commands in it, such as "-c /etc/postfix-out ".
func (r Report) Write(w io.Writer, flags string) error {
	p := term.NewPage(w, 0)
	r.head(p)
	for _, f := range r.Findings {
		p.Print("")
		f.write(p, r, flags)
	}
	if r.OK {
		p.Print("\nOK: nothing to do.")
	}
	return p.Err
}

// WriteLines writes the lines that main.cf should have, and how to set them; nothing if there are no changes. The
// flags are those of Write.
func (r Report) WriteLines(w io.Writer, flags string) error {
	if len(r.Changes) == 0 {
		return nil
	}
	p := term.NewPage(w, 0)
	p.Print(fmt.Sprintf("\nLines for %s/main.cf:\n", r.Directory))
	for _, c := range r.Changes {
		p.Print(fmt.Sprintf("    %s = %s", c.Parameter, c.New))
	}
	p.Print(fmt.Sprintf("\n`stsmapd postfix %s--apply` sets them. They take effect with `postfix %sreload`.", flags,
		flags))
	r.blocked(p)
	return p.Err
}

// WriteChanges writes the old and new lines of main.cf; nothing if there are no changes.
func (r Report) WriteChanges(w io.Writer) error {
	if len(r.Changes) == 0 {
		return nil
	}
	p := term.NewPage(w, 0)
	p.Print(fmt.Sprintf("\n%s/main.cf:\n", r.Directory))
	for _, c := range r.Changes {
		p.Print(strings.TrimRight(fmt.Sprintf("  - %s = %s", c.Parameter, c.Old), " "))
		p.Print(strings.TrimRight(fmt.Sprintf("  + %s = %s", c.Parameter, c.New), " "))
	}
	r.blocked(p)
	return p.Err
}

func (r Report) blocked(p *term.Sheet) {
	for _, why := range r.Blocked {
		p.Print("")
		p.Paragraph(term.Plain, "Not yet: ", indent, why+".")
	}
}

// head writes the first line.
func (r Report) head(p *term.Sheet) {
	var clients []string
	for _, c := range r.Clients {
		name := c.Name
		if c.Chroot {
			name += " (chroot)"
		}
		clients = append(clients, name)
	}
	prefix := fmt.Sprintf("Postfix %s, %s", r.Version, r.Directory)
	if clients != nil {
		prefix += "; SMTP clients: " + strings.Join(clients, ", ")
	}
	p.Paragraph(term.Plain, "", indent, prefix)
}

func (f Finding) write(p *term.Sheet, r Report, flags string) {
	text := f.Problem
	if len(f.Services) > 0 && len(f.Services) < len(r.Clients) {
		text += fmt.Sprintf(" [%s]", strings.Join(f.Services, ", "))
	}
	p.Paragraph(f.Severity.colour(), fmt.Sprintf("%s %s: ", f.Severity, f.ID), indent, text)
	if len(f.Where) > 0 {
		p.Paragraph(term.Plain, "  at: ", 2+indent, strings.Join(f.Where, ", "))
	}
	if f.Cure != "" {
		p.Paragraph(term.Plain, "  cure: ", 2+indent, f.Cure)
	}
	for _, command := range f.commands(flags) {
		p.Print("    " + command)
	}
}

// commands returns the commands for the fixes in master.cf, which --apply does not make. What postconf -P cannot set is
// a line for the service.
func (f Finding) commands(flags string) []string {
	var commands []string
	for _, fix := range f.Fixes {
		switch {
		case fix.Service == "":
		case strings.ContainsAny(fix.Value, " \t"):
			commands = append(commands,
				fmt.Sprintf("%s in master.cf: -o { %s = %s }", fix.Service, fix.Parameter, fix.Value))
		default:
			setting := fmt.Sprintf("%s/%s=%s", fix.Service, fix.Parameter, fix.Value)
			commands = append(commands, fmt.Sprintf("postconf %s-P %s", flags, quoteAlways(setting)))
		}
	}
	slices.Sort(commands)
	return commands
}

// quoteAlways quotes a word for a shell.
func quoteAlways(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quote quotes a word for a shell if that is necessary.
func quote(s string) string {
	safe := func(c rune) bool {
		return c < 0x80 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			strings.ContainsRune("/._-+:@%,=", c))
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !safe(c) }) < 0 {
		return s
	}
	return quoteAlways(s)
}
