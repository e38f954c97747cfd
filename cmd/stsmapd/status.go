package main

import (
	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
)

func newStatus() *cobra.Command {
	var flags controlFlags
	var out output
	cmd := usage.Command("status", usage.None, flags.ask(func(cmd *cobra.Command, client *admin.Client) error {
		s, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		return answer(len(s.Problems) == 0, out.print(cmd, s))
	}))
	flags.add(cmd)
	out.add(cmd, "one JSON object")
	return cmd
}
