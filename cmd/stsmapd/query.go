package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// queryLimit is Postfix's own timeout. It is longer than the daemon lets a question wait.
const queryLimit = 100 * time.Second

// queryFlags are the flags of query.
type queryFlags struct {
	control controlFlags
	connect string
	mapName string
	health  bool
}

func newQuery() *cobra.Command {
	var f queryFlags
	cmd := usage.Command("query", func(cmd *cobra.Command, args []string) error {
		if f.health {
			return usage.None(cmd, args)
		}
		return usage.Args("DOMAIN", 1, 1)(cmd, args)
	}, func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) })
	cmd.ValidArgsFunction = f.control.complete
	cmd.Flags().StringVarP(&f.mapName, "map", "m", "sts", "`MAP` name, as at the end of the socketmap in main.cf")
	cmd.Flags().BoolVar(&f.health, "health", false, "only check whether the daemon answers")
	cmd.Flags().StringVar(&f.connect, "connect", "",
		"`ADDRESS` of the daemon's listener (default: the first of the configuration)")
	f.control.add(cmd)
	usage.Dynamic(cmd, "map", f.mapNames)
	return cmd
}

func (f *queryFlags) run(cmd *cobra.Command, args []string) error {
	listener := f.connect
	if _, _, err := socketmap.ParseSpec(listener); listener != "" && err != nil {
		return fmt.Errorf("--connect is %.80q, must be inet:HOST:PORT or unix:/PATH, such as "+
			"inet:127.0.0.1:8461", listener)
	}
	if f.health && listener == "" {
		if known, err := f.askHealth(cmd.Context()); known {
			return err
		}
	}
	if listener == "" {
		listeners, err := f.control.listeners(cmd.Context())
		if err != nil {
			return err
		}
		listener = listeners[0]
	}
	if f.health {
		dial := func(ctx context.Context) (*socketmap.Client, error) { return socketmap.Dial(ctx, listener) }
		return admin.NewProber(dial).Probe(cmd.Context())
	}
	reply, err := query(cmd.Context(), listener, f.mapName, args[0])
	if err != nil {
		return err
	}
	switch reply.Status() {
	case socketmap.StatusOK:
		_, err := fmt.Fprintln(cmd.OutOrStdout(), term.Clean(reply.Data()))
		return err
	case socketmap.StatusNotFound:
		return &answerNo{errors.New(f.whyNoPolicy(cmd, args[0]))}
	default:
		return fmt.Errorf("%s %s", reply.Status(), reply.Data())
	}
}

// askHealth asks the daemon through its control socket whether it answers. known is false where nothing was learnt: the
// socket, which no flag named, cannot be used, or the daemon is of a version that cannot say.
func (f *queryFlags) askHealth(ctx context.Context) (known bool, err error) {
	named := f.control.control != ""
	client, err := f.control.client()
	if err != nil {
		return named, err
	}
	defer client.Close()
	err = client.Health(ctx)
	return named || !admin.NotFound(err) && !admin.Unreachable(err), err
}

// mapNames offers map names: those of the configuration and of other daemons, and lists of features, which grow by one
// with each completion.
func (f *queryFlags) mapNames(typed string) ([]string, cobra.ShellCompDirective) {
	names := []string{"sts", "postfix", "QUERY", "QUERYwithTLSRPT"}
	if c, err := config.Load(f.control.config); err == nil {
		names = append(names, c.Maps.Given()...)
	}
	list := typed[:max(0, strings.LastIndexByte(typed, '+'))]
	if _, ok := tlspolicy.ParseFeatures(typed); ok {
		list = typed
	}
	all := tlspolicy.Features{DANE: true, TLSRPT: true, Strict: true, Defer: true, NoSNI: true, Shadow: true}
	for _, feature := range strings.Split(all.String(), "+")[1:] {
		if _, ok := tlspolicy.ParseFeatures(list + "+" + feature); ok {
			names = append(names, list+"+"+feature)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func query(ctx context.Context, spec, mapName, key string) (socketmap.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	client, err := socketmap.Dial(ctx, spec)
	if err != nil {
		return socketmap.Reply{}, fmt.Errorf("query the daemon: %w", err)
	}
	defer client.Close()
	return client.Ask(ctx, mapName, key)
}

// reasonLimit bounds the question to the control socket why there is no policy.
const reasonLimit = 5 * time.Second

// whyNoPolicy says why Postfix is told that there is no policy for a next hop: by its form, or by what the daemon knows
// of the domain, which it asks through the control socket.
func (f *queryFlags) whyNoPolicy(cmd *cobra.Command, key string) string {
	hop, ok := tlspolicy.ParseNextHop(key).(tlspolicy.Domain)
	if !ok {
		return noDomain(cmd, key)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), reasonLimit)
	defer cancel()
	d, err := f.known(ctx, hop.Domain)
	if err != nil {
		return "no policy; the reason is not known: " + err.Error()
	}
	text := noPolicy(time.Now(), d)
	if features, err := tlspolicy.ParseMapName(f.mapName); err == nil && features.Shadow {
		text = "the map name has shadow, which always says so"
	}
	return d.Domain + " has no policy for this map: " + text
}

// noDomain says why a next hop cannot have a policy.
func noDomain(cmd *cobra.Command, key string) string {
	quoted := fmt.Sprintf("%.80q", key)
	if u, err := url.Parse(key); err == nil && u.Scheme != "" && u.Hostname() != "" {
		return quoted + " is a URL; ask for the domain: " + cmd.CommandPath() + " " + u.Hostname()
	}
	if i := strings.LastIndexByte(key, '@'); i >= 0 {
		if name, err := dnsname.Parse(strings.TrimSuffix(key[i+1:], ">")); err == nil {
			return quoted + " is a mail address; ask for the domain: " + cmd.CommandPath() + " " + name.String()
		}
	}
	host := strings.TrimPrefix(strings.Trim(key, "[]"), "IPv6:")
	if h, _, ok := strings.Cut(key, "]"); ok {
		host = strings.TrimPrefix(strings.TrimPrefix(h, "["), "IPv6:")
	} else if h, _, ok := strings.Cut(key, ":"); ok && strings.Count(key, ":") == 1 {
		host = h
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return quoted + " is an address, and only domains have policies"
	}
	switch {
	case strings.HasPrefix(key, "/") || strings.HasPrefix(key, "unix:"):
		return quoted + " is a path, and only domains have policies"
	case strings.HasPrefix(key, "."):
		return quoted + " is a parent domain, whose policy is not used for names below it"
	}
	_, err := dnsname.Parse(host)
	if bad := (*dnsname.Error)(nil); errors.As(err, &bad) {
		return quoted + " is no host name: " + bad.Msg
	}
	return quoted + " is no next hop: use example.com, example.com:587 or [mail.example.com]"
}

// known asks the daemon that was queried for what it knows of a domain.
func (f *queryFlags) known(ctx context.Context, domain dnsname.Name) (admin.Domain, error) {
	client, err := f.control.client()
	if err != nil {
		return admin.Domain{}, err
	}
	defer client.Close()
	if f.connect != "" && f.control.control == "" {
		s, err := client.Status(ctx)
		if err != nil {
			return admin.Domain{}, err
		}
		if !slices.Contains(s.Listen, f.connect) {
			return admin.Domain{}, fmt.Errorf("the control socket is of a daemon on %s, not on %s: use --control",
				strings.Join(s.Listen, " "), f.connect)
		}
	}
	d, err := client.Show(ctx, domain)
	if admin.NotFound(err) {
		return admin.Domain{Domain: domain.String()}, nil
	}
	return d, err
}

// noPolicy says why what is known of a domain gives no policy.
func noPolicy(now time.Time, d admin.Domain) string {
	if o := d.Override; o != nil && o.Action == "ignore" {
		return "an override ignores what the domain publishes" + inBrackets(o.Reason)
	}
	if p := d.Policy; p != nil && p.Live {
		switch p.Mode {
		case "testing":
			return "its policy is in mode testing, which only map names with +strict enforce"
		case "none":
			return "its policy is in mode none: the domain has ended MTA-STS"
		}
	}
	n := d.Negative
	if n == nil {
		return "it is looked up with the next mail"
	}
	switch n.Outcome {
	case "no_policy":
		return "it announces none, as _mta-sts." + d.Domain + " has no valid TXT record"
	case "lookup_failed":
		return "the DNS lookup fails, so that mail is unprotected: " + n.Reason
	case "fetch_failed":
		return "it announces one (id " + n.FailedID + ") that cannot be fetched, so that mail is unprotected: " +
			n.Reason + "; next attempt " + term.Relative(now, n.RetryAt)
	}
	return "a fault of this host prevents the lookup, so that mail is unprotected: " + cmp.Or(n.Reason, n.Outcome)
}

// inBrackets is a text in brackets after a space, "" for none.
func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
