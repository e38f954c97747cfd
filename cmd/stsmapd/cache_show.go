package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func newCacheShow(flags *controlFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show DOMAIN",
		Short: "Show everything known about a domain",
		Long: "Show everything known about a domain, what becomes of mail to it, and the answer of each map name. " +
			"Nothing changes, and only the MX records are looked up. Exit code 0: shown; 1: nothing is known; 2: an " +
			"error.",
		Example: "  stsmapd cache show example.com\n" +
			"  stsmapd cache show --json example.com | jq .policy.mx",
		Args: usage.Args("DOMAIN", 1, 1), ValidArgsFunction: flags.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDomain(cmd, flags, args,
				func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
					d, err := client.Show(ctx, domain)
					if err != nil {
						return false, err
					}
					if asJSON {
						return true, term.WriteJSON(cmd.OutOrStdout(), d)
					}
					return true, d.Print(cmd.OutOrStdout(), time.Now())
				})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}
