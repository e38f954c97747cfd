package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func newCacheShow(flags *controlFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "show DOMAIN",
		Short: "Show everything known about a domain",
		Long: "Show everything known about a domain, what becomes of mail to it, and the answer of each map name. " +
			"Nothing changes, and only the MX records are looked up. Exit code 0: shown; 1: nothing is known; 2: an " +
			"error.",
		Example: "  stsmapd cache show example.com\n" +
			"  stsmapd cache show --json example.com | jq .policy.mx",
	}
	out.add(cmd, "one JSON object")
	return flags.forDomains(cmd, 1, func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
		d, err := client.Show(ctx, domain)
		if err != nil {
			return false, err
		}
		return true, out.print(cmd, d)
	})
}

func newCacheRefresh(flags *controlFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "refresh DOMAIN...",
		Short: "Fetch policies now",
		Long: "Fetch policies now, even if the id has not changed or a fetch failed recently. A live policy that " +
			"cannot be fetched stays in force. Exit code 0: all fetched; 1: a domain has no policy, or its policy " +
			"could not be fetched; 2: an error.",
		Example: "  stsmapd cache refresh example.com",
	}
	out.add(cmd, "JSON lines: one object for each domain")
	return flags.forDomains(cmd, 0, func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
		r, err := client.Refresh(ctx, domain)
		if err != nil {
			return false, err
		}
		return r.Error == "" && r.Policy != nil, out.printOf(cmd, r)
	})
}

func newCacheForget(flags *controlFlags) *cobra.Command {
	var out output
	var fleet bool
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
	}
	cmd.Flags().BoolVar(&fleet, "fleet", false, "on all hosts that share an engine with this one")
	out.add(cmd, "JSON lines: one object for each domain")
	return flags.forDomains(cmd, 0, func(ctx context.Context, client *admin.Client, domain dnsname.Name) (bool, error) {
		forget := client.Forget
		if fleet {
			forget = client.ForgetEverywhere
		}
		f, err := forget(ctx, domain)
		if err != nil {
			return false, err
		}
		return true, out.printOf(cmd, f)
	})
}

// forDomains makes cmd call do with each domain of its arguments, of which there are at most most, or any number with
// 0. The answer is no if do reports false, or fails for one domain of several. It returns cmd.
func (f *controlFlags) forDomains(cmd *cobra.Command, most int,
	do func(context.Context, *admin.Client, dnsname.Name) (done bool, err error)) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = usage.Args("DOMAIN", 1, most), f.complete
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		domains := make([]dnsname.Name, len(args))
		for i, text := range args {
			name, err := dnsname.Parse(text)
			if err != nil {
				return errors.New(noDomain(cmd, text))
			}
			domains[i] = name
		}
		return f.ask(func(cmd *cobra.Command, client *admin.Client) error {
			all := true
			for _, domain := range domains {
				done, err := do(cmd.Context(), client, domain)
				var said *admin.Error
				if admin.NotFound(err) || errors.As(err, &said) && len(domains) > 1 {
					complain(cmd, err)
				} else if err != nil {
					return err
				}
				all = all && done
			}
			return answer(all, nil)
		})(cmd, args)
	}
	return cmd
}
