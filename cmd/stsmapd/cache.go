package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func newCache() *cobra.Command {
	var flags controlFlags
	cmd := usage.Command("cache", usage.Group, func(*cobra.Command, []string) error {
		return errors.New("stsmapd cache needs a subcommand: list, show, refresh, forget or export")
	})
	flags.add(cmd)
	cmd.AddCommand(newCacheList(&flags), newCacheShow(&flags), newCacheRefresh(&flags), newCacheForget(&flags),
		newCacheExport(&flags))
	return cmd
}

// listFlags are the flags of cache list.
type listFlags struct {
	modes       []string
	failing     bool
	expiring    string
	domain      string
	sort        string
	limit       int
	unavailable bool
	out         output
}

func newCacheList(flags *controlFlags) *cobra.Command {
	var f listFlags
	cmd := usage.Command("cache-list", usage.None, flags.ask(func(cmd *cobra.Command, client *admin.Client) error {
		list, err := f.parse(cmd)
		switch {
		case err != nil:
			return err
		case f.unavailable:
			return f.listUnavailable(cmd, client, list)
		case f.out.json:
			return listJSON(cmd, client, list)
		}
		return listTable(cmd, client, list)
	}))
	cmd.Flags().StringSliceVar(&f.modes, "mode", nil,
		"only policies of this `MODE`: enforce, testing or none; may be repeated")
	cmd.Flags().BoolVar(&f.failing, "failing", false, "only policies whose last fetch failed")
	cmd.Flags().StringVar(&f.expiring, "expiring", "",
		"only policies that expire within this `TIME`, such as 7d or 36h")
	cmd.Flags().StringVar(&f.domain, "domain", "", "only domains whose name contains this `TEXT`")
	cmd.Flags().StringVar(&f.sort, "sort", "",
		"sort by this `KEY`: "+strings.Join(admin.SortKeys(), ", ")+
			"; a leading - reverses the order (default: by name)")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "list at most this `NUMBER` of policies; 0: all")
	cmd.Flags().BoolVar(&f.unavailable, "unavailable", false,
		"domains whose announced policy cannot be fetched; only --domain and --limit select among them")
	f.out.add(cmd, "JSON lines: one object for each policy or domain")
	usage.Lists(cmd, "mode", "enforce", "testing", "none")
	usage.Values(cmd, "sort", func() []string {
		keys := admin.SortKeys()
		for _, key := range admin.SortKeys() {
			keys = append(keys, "-"+key)
		}
		return keys
	})
	usage.Dynamic(cmd, "domain", flags.domains)
	return cmd
}

// parse checks the flags and returns the query.
func (f *listFlags) parse(cmd *cobra.Command) (admin.List, error) {
	l := admin.List{Failing: f.failing, Domain: f.domain, Sort: f.sort, Limit: f.limit}
	for _, other := range []string{"mode", "failing", "expiring", "sort"} {
		if err := usage.Exclusive(cmd, "unavailable", other); err != nil {
			return l, err
		}
	}
	for _, text := range f.modes {
		var m mtasts.Mode
		if err := m.UnmarshalText([]byte(text)); err != nil {
			return l, fmt.Errorf("--mode is %.40q, must be enforce, testing or none", text)
		}
		l.Modes = append(l.Modes, m)
	}
	if f.expiring != "" {
		var err error
		if l.Expiring, err = term.ParseSpan(f.expiring); err != nil {
			return l, fmt.Errorf("--expiring is %.40q, must be a time, such as 7d or 36h", f.expiring)
		}
	}
	if f.sort != "" && !slices.Contains(admin.SortKeys(), strings.TrimPrefix(f.sort, "-")) {
		return l, fmt.Errorf("--sort is %.40q, must be one of %s, with a - before it for the reverse order", f.sort,
			strings.Join(admin.SortKeys(), ", "))
	}
	if f.limit < 0 {
		return l, fmt.Errorf("--limit is %d, must be a whole number, or 0 for all", f.limit)
	}
	return l, nil
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
		t.Row(term.Text(p.Domain), term.Painted(modeColour(p.Mode), p.Mode), term.Text(term.Relative(now, p.Expires)),
			term.Text(term.Relative(now, p.Fetched)),
			term.Text(term.Relative(now, p.Used)), term.Text(origin(p)), term.Painted(colour, state))
		return nil
	})
	if err != nil && t.Empty() {
		return err
	}
	return errors.Join(t.End(), err)
}

func (f *listFlags) listUnavailable(cmd *cobra.Command, client *admin.Client, list admin.List) error {
	now, lines := time.Now(), term.NewJSONLines(cmd.OutOrStdout())
	t := term.NewTable(cmd.OutOrStdout(), "DOMAIN", "ID", "FAILURES", "SINCE", "NEXT FETCH", "REASON")
	for u, err := range client.Unavailable(cmd.Context(), list) {
		switch {
		case err != nil:
			return err
		case f.out.json:
			err = lines.Encode(u)
		default:
			t.Row(term.Text(u.Domain), term.Text(u.ID), term.Text(strconv.Itoa(u.Failures)),
				term.Text(term.Relative(now, u.Since)), term.Text(term.Relative(now, u.RetryAt)),
				term.Painted(term.Red, u.Reason))
		}
		if err != nil {
			return err
		}
	}
	if f.out.json {
		return nil
	}
	return t.End()
}

// eachPolicy calls f with each policy of the list. It prints an error for each policy that the daemon cannot read, and
// then returns an *answerNo at the end.
func eachPolicy(cmd *cobra.Command, client *admin.Client, list admin.List, f func(admin.Policy) error) error {
	unread := 0
	for p, err := range client.Policies(cmd.Context(), list) {
		var said *admin.Error
		switch {
		case err == nil:
			if err := f(p); err != nil {
				return err
			}
		case errors.As(err, &said) && said.Domain != "":
			unread++
			complain(cmd, err)
		default:
			return err
		}
	}
	if unread > 0 {
		return &answerNo{errors.New(term.Plural(unread, "policy") + " could not be read")}
	}
	return nil
}

// origin returns the name of the host that fetched a policy.
func origin(p admin.Policy) string { return cmp.Or(p.Origin, "here") }

// policyState returns the state of a policy in a few words, and its colour.
func policyState(p admin.Policy) (colour, text string) {
	var parts []string
	colour = term.Plain
	if !p.Live {
		colour, parts = term.Faint, append(parts, "expired")
	}
	if t := p.FetchFailures; t != nil {
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

// domains returns the domains of the daemon that contain what was typed, for completion: at most completed ones. It
// returns none where the daemon does not answer soon.
func (f *controlFlags) domains(typed string) ([]string, cobra.ShellCompDirective) {
	const completed = 100
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	var names []string
	for p, err := range client.Policies(ctx, admin.List{Domain: typed}) {
		if err == nil && strings.HasPrefix(p.Domain, typed) {
			names = append(names, p.Domain)
		}
		if err != nil || len(names) == completed {
			break
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// complete offers domains as the arguments of a command.
func (f *controlFlags) complete(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	names, directive := f.domains(typed)
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), directive
}
