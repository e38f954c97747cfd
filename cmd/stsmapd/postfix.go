package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/trial"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// errNoTerminal says that --apply cannot ask for confirmation.
var errNoTerminal = errors.New(
	"--apply asks before it changes main.cf, but standard input is not a terminal: add --yes")

func newPostfix() *cobra.Command {
	var d postfixCommand
	cmd := usage.Command("postfix", usage.None, func(cmd *cobra.Command, _ []string) error {
		for _, other := range []string{"json", "deliver"} {
			if err := usage.Exclusive(cmd, other, "apply"); err != nil {
				return err
			}
		}
		d.in, d.out, d.messages = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		return d.run(cmd.Context())
	})
	cmd.Flags().StringVarP(&d.directory, "postconf-dir", "c", "",
		"Postfix's configuration `DIRECTORY`, as in postconf -c")
	cmd.Flags().StringArrayVar(&d.connect, "connect", nil,
		"`ADDRESS` at which Postfix should query stsmapd; may be repeated (default: the listeners of stsmapd's "+
			"configuration)")
	addConfig(cmd.Flags(), &d.config)
	cmd.Flags().BoolVar(&d.json, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&d.apply, "apply", false, "show the changes to main.cf, ask for confirmation, and make them")
	cmd.Flags().BoolVar(&d.yes, "yes", false, "with --apply: do not ask")
	cmd.Flags().BoolVar(&d.deliver, "deliver", false,
		"also let a private instance of this Postfix deliver mail under a policy, to a mail server on the loopback")
	usage.Dynamic(cmd, "postconf-dir", func(string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
	return cmd
}

// postfixCommand is the command postfix.
type postfixCommand struct {
	directory, config string
	connect           []string
	json, apply, yes  bool
	deliver           bool

	in            io.Reader
	out, messages io.Writer

	postfix   doctor.Postfix
	listeners []string
	names     tlspolicy.MapNames
}

func (d *postfixCommand) run(ctx context.Context) error {
	switch {
	case d.yes && !d.apply:
		return errors.New("--yes requires --apply")
	case d.apply && !d.yes && term.Width(d.in) == 0:
		return errNoTerminal
	}
	c, err := config.Load(d.config)
	if err != nil {
		return err
	}
	d.listeners, d.names = c.Listen, c.Maps.Names()
	if d.connect != nil {
		d.listeners = d.connect
	}
	if d.postfix, err = doctor.FindPostfix(d.directory); err != nil {
		return err
	}
	report, err := d.examine(ctx)
	if err != nil {
		return err
	}
	switch {
	case d.json:
		err = term.WriteJSON(d.out, report)
	case d.apply:
		return d.applyChanges(ctx, report)
	default:
		err = errors.Join(report.Write(d.out, d.postfix.Flags()), report.WriteLines(d.out, d.postfix.Flags()))
	}
	return answer(report.OK, err)
}

// examine collects the facts of this host and diagnoses them.
func (d *postfixCommand) examine(ctx context.Context) (doctor.Report, error) {
	facts, err := d.postfix.Facts(ctx, d.listeners, d.names)
	if err != nil {
		return doctor.Report{}, err
	}
	report := doctor.Diagnose(facts)
	if d.deliver {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		findings, err := trial.Run(ctx, d.postfix, facts)
		if err != nil {
			return report, fmt.Errorf("--deliver: %w", err)
		}
		report.Add(findings...)
	}
	return report, nil
}

// applyChanges shows the changes to main.cf, asks for confirmation, and makes them.
func (d *postfixCommand) applyChanges(ctx context.Context, before doctor.Report) error {
	if err := errors.Join(before.Write(d.out, d.postfix.Flags()), before.WriteChanges(d.out)); err != nil {
		return err
	}
	switch {
	case len(before.Changes) == 0:
		fmt.Fprintln(d.messages, "stsmapd: main.cf needs no change")
		return answer(before.OK, nil)
	case len(before.Blocked) > 0:
		return &answerNo{errors.New("main.cf is not changed: mail would be deferred")}
	case !d.yes && !d.confirmed():
		return &answerNo{errors.New("main.cf is not changed")}
	}
	if err := d.postfix.Set(ctx, before.Changes); err != nil {
		return err
	}
	fmt.Fprintf(d.messages, "stsmapd: main.cf is changed; it takes effect with: postfix %sreload\n", d.postfix.Flags())
	after, err := d.examine(ctx)
	if err != nil {
		return err
	}
	if !after.OK {
		fmt.Fprintln(d.messages, "stsmapd: this is left to do:")
		flags := d.postfix.Flags()
		if err := errors.Join(after.Write(d.out, flags), after.WriteLines(d.out, flags)); err != nil {
			return err
		}
	}
	return answer(after.OK, nil)
}

// confirmed asks whether to change main.cf, and reports whether the answer is yes.
func (d *postfixCommand) confirmed() bool {
	fmt.Fprint(d.messages, "\nChange main.cf? [y/N] ")
	answer, _ := bufio.NewReader(d.in).ReadString('\n') // the end of the input is a no
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
