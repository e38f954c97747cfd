package main

import (
	"context"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/deliveries"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/hostlog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const deliveriesHelp = `Read Postfix's log and say what became of the mail to other hosts: how many
recipients were sent to a verified server, under no policy, or without TLS; what
a TLS policy kept back, for which reason, and whether it was sent after all; and
the mail that waits now, with what to do about it. Reading is all it does.

Without FILE it reads the last 24 hours (--since) of this host's mail log, or of
its journal. A running stsmapd is asked what policy it has for the domains whose
mail waits; without it the rest is the same.

Before Postfix 3.11, only smtp_tls_loglevel = 1 has verified deliveries logged;
later versions say the level of each delivery (tls=...).

Exit codes:
  0  no mail waits because of a policy
  1  some does
  2  an error: the log could not be read

--json prints one object (all members are always there, lists are never null,
times are RFC 3339, UTC; members may be added):
  from       the time where reading began (null: at the beginning)
  first, last  times of the first and last line about mail (null: there is none)
  domain     the value of --domain, or ""
  domains    how many there are
  recipients verified, encrypted, plaintext, unlogged (sent, the log does not
             say how), below (of those sent: at a lower TLS level than was
             wanted), bounced, removed, other, waiting, waiting_for_policy
  levels     TLS levels that were reached (Postfix 3.11 and later)
  kept_back  reason, attempts, waiting, sent_after, bounced, removed; counts of
             recipients, attempts apart
  waiting    domain, messages, recipients, oldest (a time, or null), mx,
             next_hop, reason, text, remedy, override (lines for stsmapd.toml,
             or ""), policy (null, or mode, mx, expires, answer)
  notes      code (no_mail, tls_not_logged, below_level, forgotten, daemon), text

A reason is one of no-starttls, starttls-refused, not-trusted, name-mismatch,
certificate-expired, not-verified, mx-not-in-policy, handshake-failed,
tls-engine, temporary-answer, permanent-answer, map-lookup,
answer-not-understood, client-configuration, dane, requiretls, other-violation.`

// deliveriesFlags are the flags of deliveries.
type deliveriesFlags struct {
	control controlFlags
	logs    hostlog.Flags
	domain  string
	out     output
}

func newDeliveries() *cobra.Command {
	var f deliveriesFlags
	cmd := &cobra.Command{
		Use:   "deliveries [FILE...]",
		Short: "Say what became of mail under TLS policies, by Postfix's log",
		Long:  deliveriesHelp,
		Example: "  stsmapd deliveries --since 7d\n" +
			"  stsmapd deliveries --domain example.com /var/log/mail.log.1.gz",
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
		ValidArgsFunction: usage.Files,
	}
	f.control.add(cmd)
	f.logs.Add(cmd, 24*time.Hour)
	cmd.Flags().StringVar(&f.domain, "domain", "", "only mail to this recipient domain")
	f.out.add(cmd, "one JSON object")
	return cmd
}

func (f *deliveriesFlags) run(cmd *cobra.Command, args []string) error {
	f.logs.Files = append(f.logs.Files, args...)
	now := time.Now()
	o := deliveries.Options{From: f.logs.From(now), Now: now}
	if f.domain != "" {
		var err error
		if o.Domain, err = dnsname.Parse(strings.TrimSuffix(f.domain, ".")); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	report := maillog.NewReport(maillog.DefaultLimits())
	if err := f.logs.Scan(ctx, now, report.Add); err != nil {
		return err
	}
	s := deliveries.Summarize(report, o)
	f.addPolicies(ctx, s)
	return answer(len(s.Waiting) == 0, f.out.print(cmd, s))
}

// addPolicies asks the running daemon what it knows of the domains whose mail waits.
func (f *deliveriesFlags) addPolicies(ctx context.Context, s *deliveries.Summary) {
	client, err := f.control.client()
	if err != nil {
		s.AddPolicies(func(dnsname.Name) (*deliveries.Policy, error) { return nil, err })
		return
	}
	defer client.Close()
	s.AddPolicies(func(domain dnsname.Name) (*deliveries.Policy, error) {
		ctx, cancel := context.WithTimeout(ctx, cachedPolicyLimit)
		defer cancel()
		known, err := client.Show(ctx, domain)
		if admin.NotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return policyOf(known), nil
	})
}

func policyOf(known admin.Domain) *deliveries.Policy {
	p := &deliveries.Policy{MX: []string{}}
	if k := known.Policy; k != nil && k.Live {
		p.Mode, p.MX, p.Expires = k.Mode, append(p.MX, k.MX...), &k.Expires
	}
	for _, a := range known.Answers {
		if a.Map == "sts" {
			p.Answer = strings.TrimSpace(a.Status + " " + a.Data)
		}
	}
	return p
}
