package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func newCache() *cobra.Command {
	var flags controlFlags
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "See and change what the running daemon remembers",
		Long: "See and change what the running daemon remembers, through its control socket. " +
			"Exit code 0: done; 1: not found, or not all of it done; 2: an error.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitCode{exitError, errors.New("say what: cache list, show, refresh, forget or export")}
		},
	}
	flags.add(cmd)
	cmd.AddCommand(newCacheList(&flags), newCacheShow(&flags), newCacheRefresh(&flags), newCacheForget(&flags),
		newCacheExport(&flags))
	return cmd
}

// listFlags are the flags of cache list.
type listFlags struct {
	modes    []string
	failing  bool
	expiring string
	domain   string
	sort     string
	limit    int
	json     bool
}

func newCacheList(flags *controlFlags) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List policies",
		Long: "List the policies that the daemon remembers, those that have expired and were not removed yet included. " +
			"Exit code 0: listed; 1: one could not be read; 2: an error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := f.list()
			if err != nil {
				return &exitCode{exitError, err}
			}
			client, err := flags.client()
			if err != nil {
				return err
			}
			defer client.Close()
			if f.json {
				return listJSON(cmd, client, list)
			}
			return listTable(cmd, client, list)
		},
	}
	cmd.Flags().StringSliceVar(&f.modes, "mode", nil,
		"only those of this mode: enforce, testing or none; may be repeated")
	cmd.Flags().BoolVar(&f.failing, "failing", false, "only those that cannot be refreshed at the moment")
	cmd.Flags().StringVar(&f.expiring, "expiring", "", "only those that expire within this time, such as 7d or 36h")
	cmd.Flags().StringVar(&f.domain, "domain", "", "only those with this text in their name")
	cmd.Flags().StringVar(&f.sort, "sort", "",
		"order: "+strings.Join(admin.SortKeys(), ", ")+
			"; with - before it the other way round (default: as the store has them, by name)")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most so many; 0: all")
	cmd.Flags().BoolVar(&f.json, "json", false, "JSON lines: one object for each policy")
	return cmd
}

// list checks the flags.
func (f *listFlags) list() (admin.List, error) {
	l := admin.List{Failing: f.failing, Domain: f.domain, Sort: f.sort, Limit: f.limit}
	for _, text := range f.modes {
		var m mtasts.Mode
		if err := m.UnmarshalText([]byte(text)); err != nil {
			return l, fmt.Errorf("--mode: %w", err)
		}
		l.Modes = append(l.Modes, m)
	}
	if f.expiring != "" {
		var err error
		if l.Expiring, err = parseSpan(f.expiring); err != nil {
			return l, fmt.Errorf("--expiring: %w", err)
		}
	}
	if f.sort != "" && !slices.Contains(admin.SortKeys(), strings.TrimPrefix(f.sort, "-")) {
		return l, fmt.Errorf("--sort: %.40q is none of %s", f.sort, strings.Join(admin.SortKeys(), ", "))
	}
	if f.limit < 0 {
		return l, fmt.Errorf("--limit: %d is less than 0", f.limit)
	}
	return l, nil
}

// parseSpan reads a length of time, in days too: "7d", "36h".
func parseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 15)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%.40q is no length of time such as 7d or 36h", text)
	}
	return d, nil
}

func listJSON(cmd *cobra.Command, client *admin.Client, list admin.List) error {
	out := term.NewJSONLines(cmd.OutOrStdout())
	return eachPolicy(cmd, client, list, func(p admin.Policy) error { return out.Encode(p) })
}

func listTable(cmd *cobra.Command, client *admin.Client, list admin.List) error {
	now := time.Now()
	t := term.NewTable(cmd.OutOrStdout(), "DOMAIN", "MODE", "EXPIRES", "FETCHED", "USED", "FROM", "STATE")
	err := eachPolicy(cmd, client, list, func(p admin.Policy) error {
		colour, state := policyState(p)
		t.Row(term.Text(p.Domain), term.Painted(modeColour(p.Mode), p.Mode), term.Text(term.When(now, p.Expires)),
			term.Text(term.When(now, p.Fetched)),
			term.Text(term.When(now, p.Used)), term.Text(origin(p)), term.Painted(colour, state))
		return nil
	})
	return errors.Join(t.End(), err)
}

// eachPolicy calls f with each policy of the list, and tells of those that the daemon cannot read.
func eachPolicy(cmd *cobra.Command, client *admin.Client, list admin.List, f func(admin.Policy) error) error {
	unread := 0
	for p, err := range client.Policies(cmd.Context(), list) {
		var said *admin.Error
		switch {
		case err == nil:
			if err := f(p); err != nil {
				return &exitCode{exitError, err}
			}
		case errors.As(err, &said) && said.Domain != "":
			unread++
			fmt.Fprintln(cmd.ErrOrStderr(), "stsmapd:", err)
		default:
			return &exitCode{exitError, err}
		}
	}
	if unread > 0 {
		return &exitCode{exitNotFound, fmt.Errorf("%d of the policies could not be read", unread)}
	}
	return nil
}

// origin is the host that fetched a policy.
func origin(p admin.Policy) string { return cmp.Or(p.Origin, "here") }

// policyState is what an administrator should know of a policy, in a few words.
func policyState(p admin.Policy) (colour, text string) {
	var parts []string
	colour = term.Plain
	if !p.Live {
		colour, parts = term.Faint, append(parts, "expired")
	}
	if t := p.Trouble; t != nil {
		colour, parts = term.Red,
			append(parts, fmt.Sprintf("failing since %s: %s", t.Since.Format("2006-01-02 15:04"), t.Reason))
	}
	if p.Unsaved {
		colour, parts = term.Red, append(parts, "not on disk")
	}
	if p.Override != nil {
		parts = append(parts, "override "+p.Override.Action)
	}
	if len(parts) == 0 {
		return colour, "ok"
	}
	return colour, strings.Join(parts, "; ")
}

func modeColour(mode string) string {
	switch mode {
	case "enforce":
		return term.Green
	case "testing":
		return term.Yellow
	}
	return term.Faint
}

// eachDomain parses all arguments, then does something about each. The exit code is 1 where that failed for some, 2
// when the daemon cannot be asked.
func eachDomain(cmd *cobra.Command, flags *controlFlags, args []string,
	do func(context.Context, *admin.Client, dnsname.Name) (done bool, err error)) error {
	domains := make([]dnsname.Name, len(args))
	for i, text := range args {
		name, err := dnsname.Parse(text)
		if err != nil {
			return &exitCode{exitError, err}
		}
		domains[i] = name
	}
	client, err := flags.client()
	if err != nil {
		return err
	}
	defer client.Close()
	code := 0
	for _, domain := range domains {
		done, err := do(cmd.Context(), client, domain)
		var said *admin.Error
		switch {
		case err == nil && done:
		case err == nil:
			code = exitNotFound
		case errors.As(err, &said) && (said.Code == http.StatusNotFound || len(domains) > 1):
			code = exitNotFound
			fmt.Fprintln(cmd.ErrOrStderr(), "stsmapd:", err)
		default:
			return &exitCode{exitError, err}
		}
	}
	if code != 0 {
		return &exitCode{code, nil}
	}
	return nil
}
