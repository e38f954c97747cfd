package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// exitToDo is the exit code of postfix when something is to be done.
const exitToDo = 1

// errNotAsked says that there was nobody to ask.
var errNotAsked = errors.New(
	"--apply asks before it changes main.cf, and the standard input is no terminal: give --yes as well")

func newPostfix() *cobra.Command {
	var d postfixDoctor
	cmd := &cobra.Command{
		Use:   "postfix",
		Short: "Look over this host's Postfix, and say what to change",
		Long: "Read the configuration of this host's Postfix by postconf, try what it would ask, and print the lines " +
			"that main.cf " +
			"lacks and each mistake with its cure. With --apply, set these lines by `postconf -e`; nothing else is " +
			"ever changed, " +
			"and Postfix is not reloaded. " +
			"Run it as root: others cannot see everything that Postfix does. " +
			"Exit code 0: all right; 1: there is something to do; 2: it could not be told.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.in, d.out, d.messages = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&d.directory, "postconf-dir", "c", "",
		"Postfix's configuration directory, as in postconf -c")
	cmd.Flags().StringArrayVar(&d.connect, "connect", nil,
		"where Postfix is to ask stsmapd; may be repeated (default: the listeners of stsmapd's configuration)")
	cmd.Flags().StringVar(&d.config, "config", "",
		"stsmapd's configuration file (default "+defaultConfig+", where it exists)")
	cmd.Flags().BoolVar(&d.json, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&d.apply, "apply", false, "show the changes to main.cf, ask, and make them")
	cmd.Flags().BoolVar(&d.yes, "yes", false, "with --apply: do not ask")
	cmd.MarkFlagsMutuallyExclusive("json", "apply")
	cmd.MarkFlagsMutuallyExclusive("json", "yes")
	return cmd
}

// postfixDoctor is the command postfix.
type postfixDoctor struct {
	directory, config string
	connect           []string
	json, apply, yes  bool

	in            io.Reader
	out, messages io.Writer

	postfix   doctor.Postfix
	listeners []string
}

func (d *postfixDoctor) run(ctx context.Context) error {
	switch {
	case d.yes && !d.apply:
		return &exitCode{exitError, errors.New("--yes goes with --apply")}
	case d.apply && !d.yes && term.Width(d.in) == 0:
		return &exitCode{exitError, errNotAsked}
	}
	d.listeners = d.connect
	if d.connect == nil {
		c, err := loadConfig(d.config)
		if err != nil {
			return &exitCode{exitError, err}
		}
		d.listeners = c.Listen
	}
	var err error
	if d.postfix, err = doctor.FindPostfix(d.directory); err != nil {
		return &exitCode{exitError, err}
	}
	report, err := d.examine(ctx)
	if err != nil {
		return &exitCode{exitError, err}
	}
	switch {
	case d.json:
		err = term.WriteJSON(d.out, report)
	case d.apply:
		return d.mend(ctx, report)
	default:
		err = errors.Join(report.Write(d.out, d.style()), report.WriteLines(d.out, d.style()))
	}
	if err != nil {
		return &exitCode{exitError, err}
	}
	return verdict(report)
}

// examine looks the host over.
func (d *postfixDoctor) examine(ctx context.Context) (doctor.Report, error) {
	facts, err := d.postfix.Facts(ctx, d.listeners)
	if err != nil {
		return doctor.Report{}, err
	}
	return doctor.Diagnose(facts), nil
}

// verdict is the report as an exit code.
func verdict(r doctor.Report) error {
	if r.OK {
		return nil
	}
	return &exitCode{exitToDo, nil}
}

// mend shows what is to be changed, asks, and changes it.
func (d *postfixDoctor) mend(ctx context.Context, before doctor.Report) error {
	if err := errors.Join(before.Write(d.out, d.style()), before.WriteChanges(d.out)); err != nil {
		return &exitCode{exitError, err}
	}
	switch {
	case len(before.Changes) == 0:
		fmt.Fprintln(d.messages, "stsmapd: main.cf needs no change")
		return verdict(before)
	case len(before.Blocked) > 0:
		return &exitCode{exitToDo, errors.New("nothing is changed: it would make mail wait")}
	case !d.yes && !d.confirmed():
		return &exitCode{exitToDo, errors.New("nothing is changed")}
	}
	if err := d.postfix.Set(ctx, before.Changes); err != nil {
		return &exitCode{exitError, err}
	}
	fmt.Fprintf(d.messages, "stsmapd: main.cf is changed; it takes effect with: postfix %sreload\n", d.postfix.Flags())
	after, err := d.examine(ctx)
	if err != nil {
		return &exitCode{exitError, err}
	}
	if !after.OK {
		fmt.Fprintln(d.messages, "stsmapd: this is left to do:")
		if err := errors.Join(after.Write(d.out, d.style()), after.WriteLines(d.out, d.style())); err != nil {
			return &exitCode{exitError, err}
		}
	}
	return verdict(after)
}

// confirmed asks for permission.
func (d *postfixDoctor) confirmed() bool {
	fmt.Fprint(d.messages, "\nChange main.cf so? [y/N] ")
	answer, _ := bufio.NewReader(d.in).ReadString('\n') // the end of the input is a no
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func (d *postfixDoctor) style() doctor.Style {
	style := doctor.Style{Flags: d.postfix.Flags()}
	if term.Coloured(d.out) {
		style.Colours = doctor.Coloured()
	}
	return style
}
