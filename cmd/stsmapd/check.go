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
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// exitNotDelivered is the exit code of check when delivery under the policy does not work, or there is no policy.
const exitNotDelivered = 1

const checkHelp = `Check a domain now, without the daemon: its _mta-sts record, policy host,
certificate and policy, each MX host against the policy, with STARTTLS and
certificate, DANE, the TLSRPT record, and the answers for Postfix. The last line
says what would happen to a mail. No mail is sent.

A domain may be written as Postfix's next hop: example.com, [mail.example.com],
example.com:587. With several domains, a table is printed.

Certificates of MX hosts are verified with the same CA roots as those of policy
hosts (fetch.ca_file); Postfix has its own (smtp_tls_CAfile). If outgoing
connections to port 25 are blocked, run the check on the mail server, or with
--no-smtp.

Exit codes:
  0  delivery under the policy works: at least one MX host passes, and a Postfix
     with DANE delivers too. Mode testing counts as if it were enforce.
  1  it does not work, or there is no policy, or its mode is none
  2  an error: the check could not be done

--json prints one line for each domain, an object with these members (all are
always present, lists are never null, times are RFC 3339):
  domain, next_hop, at
  record     name, status (found, none, several, malformed, no_answer), texts,
             alias, ttl_seconds, id, error
  policy     null without a record; url, host, addresses, via, tls, status (ok,
             unreachable, certificate, status, media_type, too_large,
             invalid_policy), error, text, lines (number, text, verdict: ok,
             blank, unknown, repeated, wrong; error), mode, mx, max_age_seconds
  override   null without one; domain, action, mx, reason
  mx         status (found, implicit, direct, null, no_domain, no_answer),
             error, omitted, hosts: name, preference, addresses, in_policy,
             pattern, probed, address, failed (address, error), greeting,
             starttls, tls, passes, passes_match, problems (code, text), dane
  dane       ad_trusted, status (none, usable, failed), error, hosts: name,
             state, in_reach, error, at, records (usage, selector, matching_type, data,
             usable), matches
  tlsrpt     name, status, record, error
  answers    map, outcome, reply
  advice     code, text
  result     ok (exit code 0), delivery, delivery_with_dane,
             delivery_if_enforced (verified, unverified, deferred, returned,
             not_probed), summary (the last line)
  where tls is null or version, cipher, certificates: subject, issuer, names,
             not_before, not_after, sha256`

// checkFlags are the flags of check.
type checkFlags struct {
	config  string
	json    bool
	noSMTP  bool
	timeout time.Duration
	helo    string
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check DOMAIN...",
		Short: "Check a domain now: would mail be delivered under its policy?",
		Long:  checkHelp,
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runCheck(cmd, f, args) },
	}
	cmd.Flags().StringVar(&f.config, "config", "",
		"configuration file, for its dns, fetch and override settings (default "+defaultConfig+", where it exists)")
	cmd.Flags().BoolVar(&f.json, "json", false, "JSON lines: one object per domain, with everything that was found")
	cmd.Flags().BoolVar(&f.noSMTP, "no-smtp", false, "do not connect to MX hosts")
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "longest time for one domain, between 1s and 10m")
	cmd.Flags().StringVar(&f.helo, "helo", "", "name of this host for EHLO (default: its host name)")
	return cmd
}

func runCheck(cmd *cobra.Command, f checkFlags, args []string) error {
	to, err := destinations(args)
	if err != nil {
		return &exitCode{exitError, err}
	}
	opts, err := checkOptions(f)
	if err != nil {
		return &exitCode{exitError, err}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ok, err := printChecks(ctx, check.New(opts), to, f.json, cmd.OutOrStdout(), cmd.ErrOrStderr())
	switch {
	case ctx.Err() != nil:
		return &exitCode{exitError, errors.New("interrupted")}
	case err != nil:
		return &exitCode{exitError, err}
	case !ok:
		return &exitCode{exitNotDelivered, nil}
	}
	return nil
}

// destinations parses the arguments as Postfix's next hops.
func destinations(args []string) ([]dane.Destination, error) {
	to := make([]dane.Destination, len(args))
	for i, arg := range args {
		d, ok := tlspolicy.ParseNextHop(strings.TrimSuffix(arg, ".")).(tlspolicy.Domain)
		if !ok {
			return nil, fmt.Errorf("invalid domain %.80q: use example.com, example.com:587 or [mail.example.com]", arg)
		}
		to[i] = d.Destination
	}
	return to, nil
}

// checkOptions returns the options that the configuration and the flags say.
func checkOptions(f checkFlags) (check.Options, error) {
	var o check.Options
	if f.timeout < time.Second || f.timeout > 10*time.Minute {
		return o, errors.New("--timeout must be between 1s and 10m")
	}
	if strings.ContainsFunc(f.helo, func(r rune) bool { return r <= ' ' || r > '~' }) || len(f.helo) > 255 {
		return o, errors.New("--helo must be a host name or an address in brackets")
	}
	c, err := loadConfig(f.config)
	if err != nil {
		return o, err
	}
	dns, err := dnsclient.New(dnsclient.Config{
		Servers: c.DNS.Servers, Timeout: time.Duration(c.DNS.Timeout), Attempts: c.DNS.Attempts, TrustAD: c.DNS.TrustAD,
	})
	if err != nil {
		return o, c.inFile(fmt.Errorf("dns.servers: %w", err))
	}
	roots, err := fetch.LoadRoots(c.Fetch.CAFile)
	if errors.Is(err, fetch.ErrNoRoots) {
		return o, err
	} else if err != nil {
		return o, c.inFile(fmt.Errorf("fetch.ca_file: %w", err))
	}
	set, err := overrides(c.Override)
	if err != nil {
		return o, c.inFile(err)
	}
	return check.Options{
		CachedPolicy: cachedPolicy(f),
		DNS:          dns.WithDNSSEC(), ADTrusted: dns.AuthenticServers(), Overrides: set, Helo: heloName(f.helo),
		Timeout: f.timeout, NoSMTP: f.noSMTP,
		Fetch: fetch.Config{
			Timeout: time.Duration(c.Fetch.Timeout), AllowPrivate: c.Fetch.AllowPrivate, Roots: roots,
			UserAgent: "stsmapd/" + version(),
		},
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
func printChecks(ctx context.Context, c *check.Checker, to []dane.Destination, asJSON bool, stdout,
	stderr io.Writer) (ok bool, err error) {
	style := check.Style{Colour: term.Coloured(stdout)}
	var progress *check.Progress
	if term.Width(stderr) > 0 && os.Getenv("TERM") != "dumb" {
		progress = check.NewProgress(stderr)
	}
	defer progress.Clear()
	if len(to) == 1 && !asJSON {
		text := check.NewText(stdout, style, progress)
		r := c.Check(ctx, to[0], text)
		return r.Result.OK, text.Err()
	}
	names := make([]string, len(to))
	for i, d := range to {
		names[i] = d.String()
	}
	add, end := reportPrinter(stdout, style, names, asJSON)
	ok, done := true, 0
	tell := func() { progress.Show(fmt.Sprintf("%d of %d domains checked", done, len(to))) }
	tell()
	c.All(ctx, to, func(r *check.Report) {
		progress.Clear()
		if werr := add(r); err == nil {
			err = werr
		}
		ok = ok && r.Result.OK
		done++
		tell()
	})
	progress.Clear()
	if ctx.Err() == nil && err == nil {
		err = end()
	}
	return ok, err
}

// reportPrinter returns a function that prints one report, and one that prints the end of the output.
func reportPrinter(w io.Writer, style check.Style, names []string, asJSON bool) (add func(*check.Report) error,
	end func() error) {
	if asJSON {
		return func(r *check.Report) error { return check.WriteJSON(w, r) }, func() error { return nil }
	}
	table := check.NewTable(w, style, names)
	add = func(r *check.Report) error { table.Add(r); return table.Err() }
	end = func() error { table.Close(); return table.Err() }
	return add, end
}
