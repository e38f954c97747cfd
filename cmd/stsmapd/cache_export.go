package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
)

func newCacheExport(flags *controlFlags) *cobra.Command {
	var postfix bool
	cmd := usage.Command("cache-export", usage.None, flags.ask(func(cmd *cobra.Command, client *admin.Client) error {
		if !postfix {
			return listJSON(cmd, client, admin.List{})
		}
		return exportPostfix(cmd, client, time.Now())
	}))
	cmd.Flags().BoolVar(&postfix, "postfix", false, "a policy table for Postfix (texthash:)")
	return cmd
}

// exportPostfix writes the answers of the map name sts as a Postfix table.
func exportPostfix(cmd *cobra.Command, client *admin.Client, now time.Time) error {
	out := bufio.NewWriter(cmd.OutOrStdout())
	fmt.Fprintf(out, "# MTA-STS policies as stsmapd answered them on %s. This table is not updated.\n",
		now.UTC().Format("2006-01-02 15:04:05 UTC"))
	written := map[string]bool{}
	err := exportOverrides(cmd, client, out, written)
	if err == nil {
		err = eachPolicy(cmd, client, admin.List{}, func(p admin.Policy) error {
			if p.Answer == nil || p.Answer.Status != "OK" || written[p.Domain] {
				return nil
			}
			_, err := fmt.Fprintln(out, p.Domain, p.Answer.Data)
			return err
		})
	}
	return errors.Join(out.Flush(), err)
}

// exportOverrides writes the overrides of action enforce as table entries, and the others as comments. In Postfix's
// tables, `.example.org` matches every name below it. It adds the domains of the entries to written.
func exportOverrides(cmd *cobra.Command, client *admin.Client, out io.Writer, written map[string]bool) error {
	for o, err := range client.Overrides(cmd.Context()) {
		if err != nil {
			return err
		}
		if o.Answer != nil {
			written[o.Domain] = true
			fmt.Fprintf(out, "%s %s\n", o.Domain, o.Answer.Data)
			continue
		}
		fmt.Fprintf(out, "# override of the configuration: %s %s\n", o.Domain, o.Action)
	}
	return nil
}
