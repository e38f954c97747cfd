package main

import (
	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
)

func newStatus() *cobra.Command {
	var flags controlFlags
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the running daemon's status",
		Long: "Show the running daemon's status. Exit code 0: no problems; 1: the daemon runs but has problems, " +
			"which are printed; 2: it cannot be queried.",
		Example: "  stsmapd status\n" +
			"  stsmapd status --json | jq -r '.problems[].text'",
		Args: usage.None,
		RunE: flags.ask(func(cmd *cobra.Command, client *admin.Client) error {
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			return answer(len(s.Problems) == 0, out.print(cmd, s))
		}),
	}
	flags.add(cmd)
	out.add(cmd, "one JSON object")
	return cmd
}
