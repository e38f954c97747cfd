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
	return flags.forDomains("cache-show", 1,
		func(ctx context.Context, client *admin.Client, domain dnsname.Name) (result, bool, error) {
			d, err := client.Show(ctx, domain)
			return d, true, err
		})
}

func newCacheRefresh(flags *controlFlags) *cobra.Command {
	return flags.forDomains("cache-refresh", 0,
		func(ctx context.Context, client *admin.Client, domain dnsname.Name) (result, bool, error) {
			r, err := client.Refresh(ctx, domain)
			return r, r.Error == "" && r.Policy != nil, err
		})
}

func newCacheForget(flags *controlFlags) *cobra.Command {
	var fleet bool
	cmd := flags.forDomains("cache-forget", 0,
		func(ctx context.Context, client *admin.Client, domain dnsname.Name) (result, bool, error) {
			forget := client.Forget
			if fleet {
				forget = client.ForgetEverywhere
			}
			f, err := forget(ctx, domain)
			return f, true, err
		})
	cmd.Flags().BoolVar(&fleet, "fleet", false, "on all hosts that share an engine with this one")
	return cmd
}

// forDomains returns the command with the help of name. It calls do with each domain of its arguments and prints what
// do returns. There are at most most, or any number with 0. The answer is no if do reports false, or fails for one of
// several domains.
func (f *controlFlags) forDomains(name string, most int,
	do func(context.Context, *admin.Client, dnsname.Name) (r result, done bool, err error)) *cobra.Command {
	out, print, what := output{}, output.printOf, "JSON lines: one object for each domain"
	if most == 1 {
		print, what = output.print, "one JSON object"
	}
	cmd := usage.Command(name, usage.Args("DOMAIN", 1, most), func(cmd *cobra.Command, args []string) error {
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
				r, done, err := do(cmd.Context(), client, domain)
				if err == nil {
					err = print(out, cmd, r)
				}
				var said *admin.Error
				if admin.NotFound(err) || errors.As(err, &said) && len(domains) > 1 {
					complain(cmd, err)
				} else if err != nil {
					return err
				}
				all = all && done && err == nil
			}
			return answer(all, nil)
		})(cmd, args)
	})
	cmd.ValidArgsFunction = f.complete
	out.add(cmd, what)
	return cmd
}
