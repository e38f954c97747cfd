package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

func newStatus() *cobra.Command {
	var flags controlFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the running daemon's status",
		Long: "Show the running daemon's status. Exit code 0: no problems; 1: the daemon runs but has problems, " +
			"which are printed; 2: it cannot be queried.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			defer client.Close()
			s, err := client.Status(cmd.Context())
			if err != nil {
				return &exitCode{exitError, err}
			}
			if asJSON {
				err = term.WriteJSON(cmd.OutOrStdout(), s)
			} else {
				err = showStatus(cmd.OutOrStdout(), time.Now(), s)
			}
			switch {
			case err != nil:
				return &exitCode{exitError, err}
			case len(s.Problems) > 0:
				return &exitCode{exitNotFound, nil}
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func showStatus(w io.Writer, now time.Time, s admin.Status) error {
	out := term.NewSheet(w, 22)
	out.Heading("stsmapd " + term.Clean(s.Version))
	out.Line("running since", term.Plain, term.Absolute(now, s.Started)+", process "+strconv.Itoa(s.PID))
	if s.Config != "" {
		out.Line("configuration", term.Plain, s.Config)
	}
	out.Line("listens on", term.Plain, strings.Join(s.Listen, " "))
	out.Line("state directory", term.Plain, s.StateDir)
	out.Line("policies in the store", term.Plain, strconv.Itoa(s.Stored))
	m := s.InMemory
	out.Line("policies in memory", term.Plain,
		fmt.Sprintf("%d enforce, %d testing, %d none, %d expired", m.Enforce, m.Testing, m.None, m.Expired))
	colour := term.Plain
	if m.Failing > 0 {
		colour = term.Yellow
	}
	out.Line("failing", colour, strconv.Itoa(m.Failing))
	out.Line("without a policy", term.Plain, strconv.Itoa(s.NoPolicy)+" domains in memory")
	out.Line("overrides", term.Plain, strconv.Itoa(s.Overrides))
	out.Line("scheduled refreshes", term.Plain, fmt.Sprintf("%d, %d overdue", s.Refreshes, s.Overdue))
	out.Line("in progress", term.Plain, fmt.Sprintf("%d lookups, %d fetches", s.Lookups, s.Fetches))
	colour = term.Plain
	if s.Unsaved > 0 {
		colour = term.Red
	}
	out.Line("not yet on disk", colour, strconv.Itoa(s.Unsaved))
	for _, problem := range s.Problems {
		out.Line("problem", term.Red, problem)
	}
	return out.Err
}
