package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
)

func newStatus() *cobra.Command {
	var flags controlFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the running daemon's status",
		Long: "Show the running daemon's status. Exit code 0: no problems; 1: the daemon runs but has problems, " +
			"which are printed; 2: it cannot be queried.",
		Example: "  stsmapd status\n" +
			"  stsmapd status --json | jq -r '.problems[].text'",
		Args: usage.None,
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
				err = s.Print(cmd.OutOrStdout(), time.Now())
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
