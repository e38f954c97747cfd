package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/check"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/hostlog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// checkFlags are the flags of check.
type checkFlags struct {
	config  string
	json    bool
	noSMTP  bool
	timeout time.Duration
	helo    string
	logs    hostlog.Flags
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := usage.Command("check", func(cmd *cobra.Command, args []string) error {
		if f.logs.Chosen {
			return nil
		}
		return usage.Args("DOMAIN", 1, 0)(cmd, args)
	}, func(cmd *cobra.Command, args []string) error { return runCheck(cmd, f, args) })
	addConfig(cmd.Flags(), &f.config)
	cmd.Flags().BoolVar(&f.json, "json", false, "JSON lines: one object per domain, with everything that was found")
	cmd.Flags().BoolVar(&f.noSMTP, "no-smtp", false, "do not connect to MX hosts")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 6*time.Minute,
		"longest `TIME` for one domain, between 1s and 10m; Postfix waits 5m for each reply of an MX host")
	cmd.Flags().StringVar(&f.helo, "helo", "", "`NAME` of this host for EHLO (default: its host name)")
	f.logs.Add(cmd, 30*24*time.Hour)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if f.logs.Chosen {
			return usage.Files(cmd, args, typed)
		}
		return (&controlFlags{config: f.config}).complete(cmd, args, typed)
	}
	return cmd
}

func runCheck(cmd *cobra.Command, f checkFlags, args []string) error {
	opts, err := checkOptions(f)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	run := checkDomains
	if f.logs.Chosen {
		run = rehearse
	}
	ok, err := run(ctx, cmd, check.New(opts), f, args)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return answer(ok, err)
}

// checkDomains checks the domains of the arguments. It reports whether all pass.
func checkDomains(ctx context.Context, cmd *cobra.Command, c *check.Checker, f checkFlags, args []string) (ok bool,
	err error) {
	to, err := destinations(cmd, args)
	if err != nil {
		return false, err
	}
	return printChecks(ctx, cmd, c, to, f.json)
}

// destinations parses the arguments as Postfix's next hops.
func destinations(cmd *cobra.Command, args []string) ([]dane.Destination, error) {
	to := make([]dane.Destination, len(args))
	for i, arg := range args {
		d, ok := tlspolicy.ParseNextHop(strings.TrimSuffix(arg, ".")).(tlspolicy.Domain)
		if !ok {
			return nil, errors.New(noDomain(cmd, arg))
		}
		to[i] = d.Destination
	}
	return to, nil
}

// checkOptions returns the options that the configuration and the flags say.
func checkOptions(f checkFlags) (check.Options, error) {
	var o check.Options
	if f.timeout < time.Second || f.timeout > 10*time.Minute {
		return o, fmt.Errorf("--timeout is %q, must be a time from 1s to 10m, such as 6m", f.timeout)
	}
	if strings.ContainsFunc(f.helo, func(r rune) bool { return r <= ' ' || r > '~' }) || len(f.helo) > 255 {
		return o, fmt.Errorf("--helo is %.80q, must be a host name, such as mail.example.com, or an address in "+
			"brackets", f.helo)
	}
	c, err := config.Load(f.config)
	if err != nil {
		return o, err
	}
	dns, err := newDNS(c, dnsclient.Config{})
	if err != nil {
		return o, err
	}
	roots, err := c.Roots()
	if err != nil {
		return o, err
	}
	return check.Options{
		CachedPolicy: cachedPolicy(f),
		DNS:          dns.WithDNSSEC(), ADTrusted: dns.AuthenticServers(), Overrides: c.Overrides,
		Helo: heloName(f.helo), Timeout: f.timeout, NoSMTP: f.noSMTP, Fetch: fetchConfig(c, roots),
	}, nil
}

// cachedPolicy returns a function that queries the running daemon for its policy of a domain, and false if it has none
// or cannot be queried. It returns nil if no control socket is configured.
func cachedPolicy(f checkFlags) func(context.Context, dnsname.Name) (id, text string, ok bool) {
	client, err := (&controlFlags{config: f.config}).client()
	if err != nil {
		return nil
	}
	return func(ctx context.Context, domain dnsname.Name) (id, text string, ok bool) {
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, cachedPolicyLimit)
		defer cancel()
		known, err := client.Show(ctx, domain)
		if err != nil || known.Policy == nil {
			return "", "", false
		}
		return known.Policy.ID, known.Policy.Text, true
	}
}

// cachedPolicyLimit bounds a query to the daemon, whose answer is only used for advice.
const cachedPolicyLimit = 3 * time.Second

// heloName returns the name for EHLO: given if it is not empty, else the host name, else localhost.
func heloName(given string) string {
	if given != "" {
		return given
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

// printChecks checks the domains and prints the results. It reports whether all pass; the error is one of writing.
func printChecks(ctx context.Context, cmd *cobra.Command, c *check.Checker, to []dane.Destination,
	asJSON bool) (ok bool, err error) {
	stdout, waiting := cmd.OutOrStdout(), term.NewWaiting(cmd.ErrOrStderr())
	defer waiting.Clear()
	if len(to) == 1 && !asJSON {
		text := check.NewText(stdout, waiting)
		r := c.Check(ctx, to[0], text)
		return r.Result.OK, text.Err
	}
	add, end := reportPrinter(stdout, to, asJSON)
	ok = true
	err = checkEach(ctx, c, to, waiting, func(r *check.Report) error {
		ok = ok && r.Result.OK
		return add(r)
	})
	if ctx.Err() == nil && err == nil {
		err = end()
	}
	return ok, err
}

// checkEach checks domains and hands each report to add, in their order. The error is the first of add.
func checkEach(ctx context.Context, c *check.Checker, to []dane.Destination, waiting *term.Waiting,
	add func(*check.Report) error) (err error) {
	done := 0
	tell := func() { waiting.Show(fmt.Sprintf("%d of %d domains checked", done, len(to))) }
	tell()
	c.All(ctx, to, func(r *check.Report) {
		waiting.Clear()
		if aerr := add(r); err == nil {
			err = aerr
		}
		done++
		tell()
	})
	waiting.Clear()
	return err
}

// reportPrinter returns a function that prints one report, and one that prints the end of the output.
func reportPrinter(w io.Writer, to []dane.Destination, asJSON bool) (add func(*check.Report) error, end func() error) {
	if asJSON {
		lines := term.NewJSONLines(w)
		return func(r *check.Report) error { return lines.Encode(r) }, func() error { return nil }
	}
	table := check.NewTable(w, term.Texts(to))
	return table.Add, table.Close
}

// rehearse checks the domains of a mail log that announce a policy. It reports whether no mail would wait because of
// one.
func rehearse(ctx context.Context, cmd *cobra.Command, c *check.Checker, f checkFlags, args []string) (ok bool,
	err error) {
	f.logs.Files = append(f.logs.Files, args...)
	log := maillog.NewReport(maillog.DefaultLimits())
	if err := f.logs.Scan(ctx, time.Now(), log.Add); err != nil {
		return false, err
	}
	var traffic []check.Traffic
	for _, d := range log.Domains() {
		traffic = append(traffic, check.Traffic{Domain: d.Name, Recipients: d.Recipients()})
	}
	if len(traffic) == 0 {
		return false, errors.New("the log says nothing of mail to other hosts in that time")
	}
	waiting := term.NewWaiting(cmd.ErrOrStderr())
	defer waiting.Clear()
	lookedUp := 0
	announcing, unknown := c.Announcing(ctx, traffic, func() {
		lookedUp++
		waiting.Show(fmt.Sprintf("%d of %d domains looked up", lookedUp, len(traffic)))
	})
	waiting.Clear()
	first, last := log.Period()
	sum := check.NewRehearsal(traffic, last.Sub(first), unknown)
	to := make([]dane.Destination, len(announcing))
	for i, t := range announcing {
		to[i] = dane.Destination{Domain: t.Domain}
	}
	stdout := cmd.OutOrStdout()
	if len(to) > 0 && ctx.Err() == nil {
		add, _ := reportPrinter(stdout, to, f.json)
		err = checkEach(ctx, c, to, waiting, func(r *check.Report) error {
			sum.Add(r)
			return add(r)
		})
	}
	switch {
	case err != nil || ctx.Err() != nil:
	case f.json:
		err = term.NewJSONLines(stdout).Encode(map[string]*check.Rehearsal{"rehearsal": sum})
	default:
		err = sum.Print(stdout)
	}
	return len(sum.Waits) == 0, err
}
