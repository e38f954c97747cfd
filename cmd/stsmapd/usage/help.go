package usage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Help returns the command help, which fails for a command that is unknown.
func Help() *cobra.Command {
	cmd := Command("help", nil, func(cmd *cobra.Command, args []string) error {
		of, err := find(cmd.Root(), args)
		if err != nil {
			return err
		}
		of.InitDefaultHelpFlag()
		return of.Help()
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		of, err := find(cmd.Root(), args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return Names(of), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// find returns the command with a path below another.
func find(of *cobra.Command, path []string) (*cobra.Command, error) {
	for _, name := range path {
		i := slices.IndexFunc(of.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
		if i < 0 {
			return nil, unknownCommand(of, name)
		}
		of = of.Commands()[i]
	}
	return of, nil
}

// Fit makes the help of a command and those below it as wide as the terminal, or 80 columns where there is none, and
// has the library's command completion tell of wrong arguments as the others do.
func Fit(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Args, cmd.RunE = Group, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range cmd.Commands() {
			shell.Args = None
		}
	}
	columns := term.Columns(root.OutOrStdout())
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		cmd.Print(fitted(usageOf(cmd), columns))
		return nil
	})
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		cmd.Print(fitted(strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short))+"\n\n"+usageOf(cmd), columns))
	})
}

// usageOf returns the form of a command, its examples, subcommands and flags.
func usageOf(cmd *cobra.Command) string {
	use, subs := cmd.UseLine(), ""
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			subs += fmt.Sprintf("  %-*s  %s\n", cmd.NamePadding(), sub.Name(), sub.Short)
		}
	}
	if subs != "" {
		use = cmd.CommandPath() + " COMMAND [flags]"
	}
	text := "Usage:\n  " + use + "\n"
	for _, s := range []struct{ title, text string }{{"Examples", cmd.Example}, {"Commands", subs},
		{"Flags", flagsOf(cmd.LocalFlags())}, {"Global flags", flagsOf(cmd.InheritedFlags())}} {
		if s.text != "" {
			text += "\n" + s.title + ":\n" + strings.TrimRight(s.text, "\n") + "\n"
		}
	}
	if subs != "" {
		text += "\nUse `" + cmd.CommandPath() + " COMMAND --help` for more about a command.\n"
	}
	return text
}

// flagsOf returns a line for each flag: how it is given, and what it does.
func flagsOf(flags *pflag.FlagSet) string {
	var rows [][2]string
	longest := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		form := "    --" + f.Name
		if f.Shorthand != "" {
			form = "-" + f.Shorthand + ", --" + f.Name
		}
		if value != "" {
			form += " " + value
		}
		switch f.DefValue {
		case "", "false", "0", "[]":
		default:
			text += " (default " + defaultOf(f) + ")"
		}
		rows, longest = append(rows, [2]string{form, text}), max(longest, len(form))
	})
	text := ""
	for _, row := range rows {
		text += fmt.Sprintf("  %-*s  %s\n", longest, row[0], row[1])
	}
	return text
}

// defaultOf returns the default of a flag as a user writes it.
func defaultOf(f *pflag.Flag) string { return strings.Replace(f.DefValue, "m0s", "m", 1) }

// fitted breaks a text into lines of at most columns characters. Lines that begin at the left margin are prose, as are
// items, which are indented and have a name, two spaces or more, and a text that further lines continue below it. Other
// indented lines, such as commands to paste, stay as they are.
func fitted(text string, columns int) string {
	var out []string
	line, at := "", verbatim
	end := func() {
		switch {
		case at == verbatim || at+narrowest > columns:
			out = append(out, line)
		default:
			out = append(out, line[:at]+strings.Join(term.Wrap(line[at:], columns-at), "\n"+strings.Repeat(" ", at)))
		}
	}
	for next := range strings.SplitSeq(text, "\n") {
		words := strings.TrimLeft(next, " ")
		if words != "" && line != "" && at == len(next)-len(words) {
			line += " " + words
			continue
		}
		end()
		line, at = next, textStart(next)
	}
	end()
	return strings.Join(out[1:], "\n")
}

const (
	verbatim  = -1 // the start of a text that is not broken
	narrowest = 20 // columns that a text must have beside the name of its item to be broken
)

// textStart returns where the text of a line starts: at 0, or behind the name of an item.
func textStart(line string) int {
	name := strings.TrimLeft(line, " ")
	if len(name) == len(line) {
		return 0
	}
	_, text, isItem := strings.Cut(name, "  ")
	if !isItem {
		return verbatim
	}
	return len(line) - len(strings.TrimLeft(text, " "))
}
