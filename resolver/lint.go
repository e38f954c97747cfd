package resolver

import (
	"context"
	"strings"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// lint compares the MX hosts of a domain with a policy just learnt, in the background: where none matches, no mail will
// get through, and the administrator should know why before the queue fills.
func (s *Service) lint(e Entry) {
	if e.Policy.Mode != mtasts.ModeEnforce {
		return
	}
	s.inBackground(func(ctx context.Context) {
		answer, err := s.config.Load().DNS.MX(ctx, e.Domain.String())
		if err != nil || len(answer.Records) == 0 {
			return // nothing to compare with; deliveries will tell
		}
		hosts := make([]string, len(answer.Records))
		for i, mx := range answer.Records {
			hosts[i] = mx.Host
		}
		if !anyMatches(e.Policy, hosts) {
			s.log.Warn("no MX host of the domain matches its policy: Postfix will defer its mail until the publisher "+
				"repairs the policy or the MX records; an override can let it pass", "event", "mx_mismatch", "domain",
				e.Domain,
				"mx_hosts", strings.Join(hosts, ","), "policy_mx", e.Policy.MX)
		}
	})
}

func anyMatches(p mtasts.Policy, hosts []string) bool {
	for _, h := range hosts {
		if name, err := dnsname.Parse(h); err == nil && p.Matches(name) {
			return true
		}
	}
	return false
}
