package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
)

func newStatus() *cobra.Command {
	var flags controlFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how the running daemon does",
		Long:  "Tell how the running daemon does. Exit code 0: well; 1: it runs, but has problems, which are printed; 2: it cannot be asked.",
		Args:  cobra.NoArgs,
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
				err = writeJSON(cmd.OutOrStdout(), s)
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
	out := newSheet(w, 22)
	out.heading("stsmapd " + clean(s.Version))
	out.line("running since", plain, moment(now, s.Started)+", process "+strconv.Itoa(s.PID))
	if s.Config != "" {
		out.line("configuration", plain, s.Config)
	}
	out.line("listens on", plain, strings.Join(s.Listen, " "))
	out.line("state directory", plain, s.StateDir)
	out.line("policies in the store", plain, number(s.Stored))
	m := s.InMemory
	out.line("policies in memory", plain, fmt.Sprintf("%d enforce, %d testing, %d none, %d expired", m.Enforce, m.Testing, m.None, m.Expired))
	colour := plain
	if m.Failing > 0 {
		colour = yellow
	}
	out.line("of them failing", colour, strconv.Itoa(m.Failing))
	out.line("without a policy", plain, number(s.NoPolicy)+" domains in memory")
	out.line("overrides", plain, strconv.Itoa(s.Overrides))
	out.line("refreshes waiting", plain, fmt.Sprintf("%d, of them overdue %d", s.Refreshes, s.Overdue))
	out.line("under way", plain, fmt.Sprintf("%d lookups, of them %d fetches", s.Lookups, s.Fetches))
	colour = plain
	if s.Unsaved > 0 {
		colour = red
	}
	out.line("waiting for the disk", colour, strconv.Itoa(s.Unsaved))
	for _, problem := range s.Problems {
		out.line("problem", red, problem)
	}
	return out.err
}

// number is a count, where there is one.
func number(n *int) string {
	if n == nil {
		return "unknown"
	}
	return strconv.Itoa(*n)
}
