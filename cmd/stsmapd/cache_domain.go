package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func newCacheRefresh(flags *controlFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "refresh DOMAIN...",
		Short: "Fetch policies now",
		Long: "Fetch policies now, even if the id has not changed or a fetch failed recently. A live policy that " +
			"cannot be fetched stays in force. Exit code 0: all fetched; 1: a domain has no policy, or its policy " +
			"could not be fetched; 2: an error.",
		Example: "  stsmapd cache refresh example.com",
		Args:    usage.Args("DOMAIN", 1, 0), ValidArgsFunction: flags.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDomain(cmd, flags, args,
				func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
					r, err := client.Refresh(ctx, domain)
					if err != nil {
						return false, err
					}
					fetched := r.Error == "" && r.Policy != nil
					if asJSON {
						return fetched, term.NewJSONLines(cmd.OutOrStdout()).Encode(r)
					}
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", r.Domain,
						term.Clean(refreshText(time.Now(), r)))
					return fetched, err
				})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON lines: one object for each domain")
	return cmd
}

func refreshText(now time.Time, r admin.Refreshed) string {
	switch p := r.Policy; {
	case p != nil && r.Error != "" && p.Live:
		return fmt.Sprintf("not fetched: %s; the policy of %s (mode %s) stays in force, and expires %s", r.Error,
			term.Absolute(now, p.Fetched),
			p.Mode, term.Relative(now, p.Expires))
	case r.Error != "":
		return "cannot get a policy: " + r.Error
	case p == nil:
		return "no policy: the DNS says that there is none"
	default:
		return fmt.Sprintf("fetched: mode %s, id %s, expires %s", p.Mode, p.ID, term.Relative(now, p.Expires))
	}
}

func newCacheForget(flags *controlFlags) *cobra.Command {
	var asJSON, fleet bool
	cmd := &cobra.Command{
		Use:   "forget DOMAIN...",
		Short: "Forget everything known about domains",
		Long: "Forget everything known about domains. The next mail to such a domain is sent as its DNS and policy " +
			"host say at that time: an attacker who hides them from this host is not noticed. If a policy is wrong " +
			"for you, use an override instead. Hosts that share an engine (shared.url) exchange policies, so that " +
			"the next mail may bring a policy back from another host: with --fleet all hosts that can be reached " +
			"forget it. Exit code 0: forgotten; 1: nothing was known about a domain; 2: an error.",
		Example: "  stsmapd cache forget example.com\n" +
			"  stsmapd cache forget --fleet example.com",
		Args: usage.Args("DOMAIN", 1, 0), ValidArgsFunction: flags.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDomain(cmd, flags, args,
				func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
					forget := client.Forget
					if fleet {
						forget = client.ForgetEverywhere
					}
					if err := forget(ctx, domain); err != nil {
						return false, err
					}
					if asJSON {
						return true, term.NewJSONLines(cmd.OutOrStdout()).Encode(
							admin.Forgotten{Domain: domain.String(), Forgotten: true})
					}
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: forgotten\n", domain)
					return true, err
				})
		},
	}
	cmd.Flags().BoolVar(&fleet, "fleet", false, "on all hosts that share an engine with this one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON lines: one object for each domain")
	return cmd
}
