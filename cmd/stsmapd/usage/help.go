package usage

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Help returns the command help, which fails for a command that is unknown.
func Help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Show the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			of := cmd.Root()
			for _, name := range args {
				sub, err := find(of, name)
				if err != nil {
					return err
				}
				of = sub
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			of := cmd.Root()
			for _, name := range args {
				sub, err := find(of, name)
				if err != nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				of = sub
			}
			return Names(of), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func find(of *cobra.Command, name string) (*cobra.Command, error) {
	for _, sub := range of.Commands() {
		if sub.Name() == name {
			return sub, nil
		}
	}
	return nil, unknownCommand(of, name)
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
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ",
		fmt.Sprintf(".FlagUsagesWrapped %d ", columns)))
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		text := cmd.Long
		if text == "" {
			text = cmd.Short
		}
		cmd.Println(fitted(text, columns) + "\n")
		cmd.Print(cmd.UsageString())
	})
}

// fitted is a text whose paragraphs are broken into lines; one that is in lines already, or is indented, stays as it
// is.
func fitted(text string, columns int) string {
	paragraphs := strings.Split(strings.Trim(text, "\n"), "\n\n")
	for i, p := range paragraphs {
		if !strings.Contains(p, "\n") && !strings.HasPrefix(p, " ") {
			paragraphs[i] = strings.Join(term.Wrap(p, columns), "\n")
		}
	}
	return strings.Join(paragraphs, "\n\n")
}
