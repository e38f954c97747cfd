package doctor

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// colour returns the colour of a finding's label.
func (s Severity) colour() string {
	return map[Severity]string{Error: term.Red, Warning: term.Yellow, Note: term.Bold}[s]
}

// sheet is a text in lines of at most so many characters.
type sheet struct {
	strings.Builder
	columns int
	colours bool
}

func newSheet(w io.Writer) *sheet {
	return &sheet{columns: cmp.Or(term.Width(w), 100), colours: term.Coloured(w)}
}

// Write writes the findings as text. The flags are those of Postfix's commands in it, such as "-c /etc/postfix-out ".
func (r Report) Write(w io.Writer, flags string) error {
	b := newSheet(w)
	r.head(b)
	for _, f := range r.Findings {
		b.WriteByte('\n')
		f.write(b, r, flags)
	}
	if r.OK {
		b.WriteString("\nOK: nothing to do.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteLines writes the lines that main.cf should have, and how to set them; nothing if there are no changes. The
// flags are those of Write.
func (r Report) WriteLines(w io.Writer, flags string) error {
	if len(r.Changes) == 0 {
		return nil
	}
	b := newSheet(w)
	fmt.Fprintf(b, "\nLines for %s/main.cf:\n\n", r.Directory)
	for _, c := range r.Changes {
		fmt.Fprintf(b, "    %s = %s\n", c.Parameter, c.New)
	}
	fmt.Fprintf(b, "\n`stsmapd postfix %s--apply` sets them. They take effect with `postfix %sreload`.\n", flags, flags)
	r.blocked(b)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteChanges writes the old and new lines of main.cf; nothing if there are no changes.
func (r Report) WriteChanges(w io.Writer) error {
	if len(r.Changes) == 0 {
		return nil
	}
	b := newSheet(w)
	fmt.Fprintf(b, "\n%s/main.cf:\n\n", r.Directory)
	for _, c := range r.Changes {
		fmt.Fprintf(b, "  - %s = %s\n  + %s = %s\n", c.Parameter, c.Old, c.Parameter, c.New)
	}
	r.blocked(b)
	_, err := io.WriteString(w, strings.ReplaceAll(b.String(), " = \n", " =\n"))
	return err
}

func (r Report) blocked(b *sheet) {
	for _, why := range r.Blocked {
		b.WriteByte('\n')
		b.wrap("", "Not yet: ", "", why+".")
	}
}

// head writes the first line.
func (r Report) head(b *sheet) {
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
	b.wrap("", "", "", prefix)
}

func (f Finding) write(b *sheet, r Report, flags string) {
	text := f.Problem
	if len(f.Services) > 0 && len(f.Services) < len(r.Clients) {
		text += fmt.Sprintf(" [%s]", strings.Join(f.Services, ", "))
	}
	b.wrap(f.Severity.colour(), fmt.Sprintf("%s %s: ", f.Severity, f.ID), "", text)
	if len(f.Where) > 0 {
		b.wrap("", "  at: ", "  ", strings.Join(f.Where, ", "))
	}
	if f.Cure != "" {
		b.wrap("", "  cure: ", "  ", f.Cure)
	}
	for _, command := range f.commands(flags) {
		fmt.Fprintf(b, "    %s\n", command)
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

// wrap writes a label in a colour, and a text, in lines of at most b.columns characters; a longer word is on a separate
// line.
func (b *sheet) wrap(colour, label, indent, text string) {
	indent += "    "
	place := strings.Repeat("x", max(len(label)-len(indent), 0)) // of the label, in a word with the text
	lines := term.Wrap(place+strings.Join(strings.Fields(text), " "), b.columns-len(indent))
	rest := strings.TrimPrefix(lines[0], place)
	if b.colours {
		label = term.Paint(colour, label)
	}
	lines[0] = label + rest
	b.WriteString(strings.Join(lines, "\n"+indent) + "\n")
}
