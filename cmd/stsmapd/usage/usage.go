// Package usage tells of wrong command lines: unknown commands and flags, with what was probably meant, wrong values,
// and how many arguments a command takes.
package usage

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Args returns a check of the number of arguments. name is what an argument is called, least and most are how many a
// command takes; most 0 means any number.
func Args(name string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch path := cmd.CommandPath(); {
		case len(args) < least:
			return fmt.Errorf("%s needs a %s: %s", path, name, cmd.UseLine())
		case most > 0 && len(args) > most:
			return fmt.Errorf("%s takes %s, not %d: %s", path, term.Plural(most, name), len(args), cmd.UseLine())
		}
		return nil
	}
}

// None is a check for commands that take no arguments.
func None(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no arguments, but got %.60q", cmd.CommandPath(), args[0])
}

// Group is a check for commands that have subcommands and do nothing themselves.
func Group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

// Names returns the names of a command's subcommands.
func Names(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(names, sub.Name())
		}
	}
	return names
}

func unknownCommand(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %.60q", name)
	if near := term.Nearest(name, Names(cmd)); near != "" {
		return fmt.Errorf("%s; do you mean %s %s?", text, cmd.CommandPath(), near)
	}
	return fmt.Errorf("%s; %s has the commands %s", text, cmd.CommandPath(), strings.Join(Names(cmd), ", "))
}

// FlagError returns an error of the flag library in our words.
func FlagError(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &missing):
		return unknownFlag(cmd, missing)
	case errors.As(err, &empty):
		value, what := pflag.UnquoteUsage(empty.GetFlag())
		return fmt.Errorf("--%s needs a value, --%s %s: %s", empty.GetFlag().Name, empty.GetFlag().Name,
			strings.ToUpper(value), what)
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		return fmt.Errorf("--%s is %.80q, must be %s", f.Name, invalid.GetValue(), wanted(f, invalid))
	}
	return err
}

func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	name := "--" + err.GetSpecifiedName()
	if err.GetSpecifiedShortnames() != "" {
		name = "-" + err.GetSpecifiedName()
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	if near := term.Nearest(name, names); near != "" && len(name) > 3 {
		return fmt.Errorf("unknown flag %s; do you mean %s?", name, near)
	}
	return fmt.Errorf("unknown flag %s; `%s --help` lists the flags", name, cmd.CommandPath())
}

// wanted is what a flag's value must be. A flag type of ours says that itself.
func wanted(f *pflag.Flag, err *pflag.InvalidValueError) string {
	switch f.Value.Type() {
	case "int", "uint":
		return "a whole number, such as " + f.DefValue
	case "duration":
		return "a time, such as " + defaultOf(f)
	case "bool":
		return "true or false"
	}
	return err.Unwrap().Error()
}

// Exclusive returns an error if more than one of the flags is given.
func Exclusive(cmd *cobra.Command, names ...string) error {
	first := ""
	for _, name := range names {
		switch {
		case !cmd.Flags().Changed(name):
		case first != "":
			return fmt.Errorf("--%s and --%s cannot be used together", first, name)
		default:
			first = name
		}
	}
	return nil
}

// Print writes a message to w: in lines of the width of screen, to which w leads, if that is a terminal, else in one.
func Print(w io.Writer, screen any, message string) {
	fmt.Fprintln(w, strings.Join(term.Wrap(message, term.Width(screen)-2), "\n  "))
}
