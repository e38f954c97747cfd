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
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// deliveriesFlags are the flags of deliveries.
type deliveriesFlags struct {
	logFlags
	domain string
}

func newDeliveries() *cobra.Command {
	var f deliveriesFlags
	cmd := f.command("deliveries", 24*time.Hour, "one JSON object", f.run)
	cmd.Flags().StringVar(&f.domain, "domain", "", "only mail to this recipient `DOMAIN`")
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
