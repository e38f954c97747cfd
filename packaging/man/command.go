package man

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// section is that of all commands: they are for system administrators.
const section = 8

// Commands returns the pages of a program's commands, by file name. The program's own page has more to say than its
// help: sections of plain text that begin with lines such as `# FILES`.
func Commands(root *cobra.Command, more string) map[string]string {
	root.InitDefaultCompletionCmd("completion")
	pages := map[string]string{}
	add(pages, root, more)
	return pages
}

func add(pages map[string]string, cmd *cobra.Command, more string) {
	pages[fmt.Sprintf("%s.%d", name(cmd), section)] = command(cmd, more)
	if cmd.Name() == "completion" {
		return // its own commands are the names of shells
	}
	for _, sub := range subcommands(cmd) {
		add(pages, sub, "")
	}
}

// subcommands are those that a page tells of.
func subcommands(cmd *cobra.Command) (subs []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			subs = append(subs, sub)
		}
	}
	return subs
}

// name is the name of a command's page, such as stsmapd-cache-list.
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
	for _, s := range strings.Split(more, "\n# ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		p.section(title)
		p.sectionText(text)
	}
	p.section("SEE ALSO")
	p.line(strings.Join(see, ", "))
	return p.String()
}

// sectionText is prose, but a paragraph whose first line ends in a colon and whose others are indented is an item.
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

// sentence gives a text its final stop, if it has no other.
func sentence(text string) string {
	if strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

func ref(cmd *cobra.Command) string { return fmt.Sprintf("%s(%d)", name(cmd), section) }

// flag is an item as in the command's help.
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
