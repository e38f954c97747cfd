package doctor

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Style is the style of a printed Report.
type Style struct {
	Flags   string              // of Postfix's commands in the text, such as "-c /etc/postfix-out "
	Colours map[Severity]string // the escape sequence that starts a colour; nil: none
}

// TerminalColours returns the colours for a terminal.
func TerminalColours() map[Severity]string {
	return map[Severity]string{Error: "\x1b[1;31m", Warning: "\x1b[1;33m", Note: "\x1b[1;36m"}
}

// sheet is a text in lines of at most so many characters.
type sheet struct {
	strings.Builder
	columns int
}

// Write writes the findings as text.
func (r Report) Write(w io.Writer, style Style) error {
	b := sheet{columns: cmp.Or(term.Width(w), 100)}
	r.head(&b)
	for _, f := range r.Findings {
		b.WriteByte('\n')
		f.write(&b, r, style)
	}
	if r.OK {
		b.WriteString("\nOK: nothing to do.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteLines writes the lines that main.cf should have, and how to set them; nothing if there are no changes.
func (r Report) WriteLines(w io.Writer, style Style) error {
	if len(r.Changes) == 0 {
		return nil
	}
	b := sheet{columns: cmp.Or(term.Width(w), 100)}
	fmt.Fprintf(&b, "\nLines for %s/main.cf:\n\n", r.Directory)
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "    %s = %s\n", c.Parameter, c.New)
	}
	fmt.Fprintf(&b, "\n`stsmapd postfix %s--apply` sets them. They take effect with `postfix %sreload`.\n", style.Flags,
		style.Flags)
	r.blocked(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteChanges writes the old and new lines of main.cf; nothing if there are no changes.
func (r Report) WriteChanges(w io.Writer) error {
	if len(r.Changes) == 0 {
		return nil
	}
	b := sheet{columns: cmp.Or(term.Width(w), 100)}
	fmt.Fprintf(&b, "\n%s/main.cf:\n\n", r.Directory)
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "  - %s = %s\n  + %s = %s\n", c.Parameter, c.Old, c.Parameter, c.New)
	}
	r.blocked(&b)
	_, err := io.WriteString(w, strings.ReplaceAll(b.String(), " = \n", " =\n"))
	return err
}

func (r Report) blocked(b *sheet) {
	for _, why := range r.Blocked {
		b.WriteByte('\n')
		wrap(b, "Not yet: ", "", why+".")
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
	wrap(b, "", "", prefix)
}

func (f Finding) write(b *sheet, r Report, style Style) {
	label := fmt.Sprintf("%s %s:", f.Severity, f.ID)
	if begin := style.Colours[f.Severity]; begin != "" {
		label = begin + label + "\x1b[0m"
	}
	text := f.Problem
	if len(f.Services) > 0 && len(f.Services) < len(r.Clients) {
		text += fmt.Sprintf(" [%s]", strings.Join(f.Services, ", "))
	}
	wrap(b, label+" ", "", text)
	if len(f.Where) > 0 {
		wrap(b, "  at: ", "  ", strings.Join(f.Where, ", "))
	}
	if f.Cure != "" {
		wrap(b, "  cure: ", "  ", f.Cure)
	}
	for _, command := range f.commands(style.Flags) {
		fmt.Fprintf(b, "    %s\n", command)
	}
}

// commands returns the commands for the fixes in master.cf, which --apply does not make.
func (f Finding) commands(flags string) []string {
	var commands []string
	for _, fix := range f.Fixes {
		if fix.Service != "" {
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

// wrap writes first and a text in lines of at most b.columns characters; a longer word is on a separate line.
func wrap(b *sheet, first, indent, text string) {
	indent += "    "
	place := strings.Repeat("x", max(len(stripColour(first))-len(indent), 0)) // of first, in a word with the text
	lines := term.Wrap(place+strings.Join(strings.Fields(text), " "), b.columns-len(indent))
	lines[0] = first + strings.TrimPrefix(lines[0], place)
	b.WriteString(strings.Join(lines, "\n"+indent) + "\n")
}

// stripColour returns a text without the colour.
func stripColour(s string) string {
	if _, rest, found := strings.Cut(s, "m"); found && strings.HasPrefix(s, "\x1b") {
		s, _, _ = strings.Cut(rest, "\x1b")
		return s + " "
	}
	return s
}
