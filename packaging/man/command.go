package man

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// section is the manual section of all commands: system administration.
const section = 8

// Commands returns the pages of a program and its commands, by file name. more has further sections for the page of the
// program, as plain text; each begins with a line such as `# FILES`.
func Commands(root *cobra.Command, more string) map[string]string {
	root.InitDefaultCompletionCmd("completion")
	pages := map[string]string{}
	add(pages, root, more)
	return pages
}

func add(pages map[string]string, cmd *cobra.Command, more string) {
	pages[fmt.Sprintf("%s.%d", name(cmd), section)] = command(cmd, more)
	if cmd.Name() == "completion" {
		return // its subcommands are shells
	}
	for _, sub := range subcommands(cmd) {
		add(pages, sub, "")
	}
}

// subcommands returns the subcommands that a page lists.
func subcommands(cmd *cobra.Command) (subs []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			subs = append(subs, sub)
		}
	}
	return subs
}

// name returns the name of a command's page, such as stsmapd-cache-list.
func name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func command(cmd *cobra.Command, more string) string {
	p := newPage(name(cmd), section, cmd.Short)
	p.section("SYNOPSIS")
	usage := cmd.UseLine()
	if !cmd.Runnable() || cmd.HasAvailableSubCommands() {
		usage = cmd.CommandPath() + " COMMAND [flags]"
	}
	fmt.Fprintf(p, "\\fB%s\\fR%s\n", escape(cmd.CommandPath()), escape(strings.TrimPrefix(usage, cmd.CommandPath())))
	p.section("DESCRIPTION")
	long := cmd.Long
	if long == "" {
		long = sentence(cmd.Short)
	}
	p.prose(long)
	see := []string{"stsmapd.toml(5)"}
	if cmd.HasParent() {
		see = append(see, ref(cmd.Parent()))
	}
	if subs := subcommands(cmd); len(subs) > 0 {
		p.section("COMMANDS")
		for _, sub := range subs {
			p.item(strings.TrimPrefix(sub.UseLine(), cmd.CommandPath()+" "), sentence(sub.Short))
			if cmd.Name() != "completion" {
				see = append(see, ref(sub))
			}
		}
	}
	p.section("OPTIONS")
	cmd.InitDefaultHelpFlag()
	cmd.LocalFlags().VisitAll(p.flag)
	cmd.InheritedFlags().VisitAll(p.flag)
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.prose("  " + strings.ReplaceAll(cmd.Example, "\n", "\n  "))
	}
	for _, s := range strings.Split(more, "\n# ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		p.section(title)
		p.sectionText(text)
	}
	p.section("SEE ALSO")
	p.line(strings.Join(see, ", "))
	return p.String()
}

// sectionText writes prose; a paragraph whose first line ends in a colon and whose other lines are indented becomes an
// item.
func (p *page) sectionText(text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		term, explanation, _ := strings.Cut(paragraph, "\n")
		if strings.HasSuffix(term, ":") && strings.HasPrefix(explanation, "\t") {
			p.item(strings.TrimSuffix(term, ":"), strings.ReplaceAll("\n"+explanation, "\n\t", "\n"))
			continue
		}
		if i > 0 {
			p.WriteString(".PP\n")
		}
		p.prose(paragraph)
	}
}

// sentence adds a full stop to a text unless it ends in a question mark.
func sentence(text string) string {
	if strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

func ref(cmd *cobra.Command) string { return fmt.Sprintf("%s(%d)", name(cmd), section) }

// flag writes a flag as an item.
func (p *page) flag(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	term := "--" + f.Name
	if f.Shorthand != "" {
		term = "-" + f.Shorthand + ", " + term
	}
	if value != "" {
		term += " " + value
	}
	switch f.DefValue {
	case "", "false", "0", "[]":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	p.item(term, usage)
}
