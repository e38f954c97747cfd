package usage

import (
	"embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// texts has the help of each command, as a reader sees it: the form of its use, a line of what it is for, the
// explanation, and examples below "Examples:".
//
//go:embed texts
var texts embed.FS

// Command returns a command with the help of texts/NAME.txt, whose name is the path of the command below the program:
// "cache-list". args checks the arguments, and run gets those that are right. It panics where there is no such text.
func Command(name string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	text, err := texts.ReadFile("texts/" + name + ".txt")
	if err != nil {
		panic(fmt.Sprintf("the help of a command: %v", err))
	}
	help, examples, _ := strings.Cut(string(text), "\nExamples:\n")
	use, rest, _ := strings.Cut(help, "\n")
	short, long, _ := strings.Cut(rest, "\n")
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    strings.Trim(long, "\n"),
		Example: strings.TrimRight(examples, "\n"),
		Args:    args,
		RunE:    run,
	}
}
