package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// mxLimit is how long the view of a domain waits for the lookup of its MX records.
const mxLimit = 3 * time.Second

// Domain returns everything known about a domain; false: nothing is known. It changes nothing. Where a policy names MX
// hosts, it looks up those of the domain.
func (m *Monitor) Domain(ctx context.Context, name dnsname.Name) (Domain, bool) {
	k, err := m.admin.Known(ctx, name)
	if err == nil && k.Empty() {
		return Domain{}, false
	}
	d := viewDomain(k, err)
	d.Events = m.History.Events(name.String())
	v, ok := k.Verdict(resolver.Question{})
	if !ok {
		d.Mail.Text = "not known without a lookup, which the next mail starts"
		return d, true
	}
	if v.Policy == nil || len(v.Policy.Policy().MX()) == 0 {
		d.Mail = viewMail(v, nil)
		return d, true
	}
	ctx, cancel := context.WithTimeout(ctx, mxLimit)
	defer cancel()
	found, err := m.admin.MX(ctx, name)
	hosts := found.Records
	switch {
	case err == nil && found.Denial == dnsclient.NXDomain:
		d.Mail.Text = "returned: the domain does not exist in the DNS"
		return d, true
	case err == nil && len(hosts) == 0:
		hosts = []dnsclient.MX{{Host: name.String()}}
	}
	d.Mail = viewMail(v, hosts)
	if err != nil {
		d.Mail.MXError = err.Error()
	}
	return d, true
}

// viewMail says what becomes of mail under a verdict of the map name sts, with these MX hosts. It is pure.
func viewMail(v resolver.Verdict, hosts []dnsclient.MX) Mail {
	const open = "delivered as without MTA-STS: "
	switch v.Outcome {
	case resolver.Enforce:
		return mailUnderPolicy(v, hosts, true)
	case resolver.Testing:
		mail := mailUnderPolicy(v, hosts, false)
		mail.Text = open + "the policy is in mode testing; enforced, it would be " + mail.Text
		return mail
	case resolver.None:
		return Mail{Text: open + "the policy is in mode none"}
	case resolver.Absent:
		return Mail{Text: open + "the domain has no policy"}
	case resolver.Unfetched:
		return Mail{Text: open + "the announced policy cannot be fetched, or is invalid"}
	case resolver.Unknown:
		return Mail{Text: open + "the DNS does not say whether the domain has a policy; the map sts+defer would let " +
			"it wait"}
	case resolver.Unable:
		return Mail{Text: open + "a fault of this host prevents the lookup"}
	case resolver.Ignored:
		return Mail{Text: open + "an override says so"}
	default:
		return Mail{Text: "deferred: the policy could not be looked up in time"}
	}
}

// mailUnderPolicy says what becomes of mail if the policy of a verdict is enforced.
func mailUnderPolicy(v resolver.Verdict, hosts []dnsclient.MX, enforced bool) Mail {
	var mail Mail
	var never []string
	slices.SortStableFunc(hosts, func(a, b dnsclient.MX) int { return int(a.Preference) - int(b.Preference) })
	for _, h := range hosts {
		if h.Host == "" {
			return Mail{Text: "returned: the domain takes no mail (null MX)"}
		}
		host, err := dnsname.Parse(h.Host)
		in := err == nil && v.Policy.Policy().Matches(host)
		mail.MX = append(mail.MX, MXHost{Host: h.Host, Preference: h.Preference, InPolicy: in})
		if !in {
			never = append(never, h.Host)
		}
	}
	const secure = "delivered only by TLS to MX hosts that the policy names, with a valid certificate; otherwise it " +
		"waits"
	switch {
	case len(never) == 0:
		mail.Text = secure
	case len(never) < len(hosts):
		mail.Text = secure + "; never delivered to " + strings.Join(never, ", ") + ": not in the policy"
	default:
		mail.Text = "deferred: the policy names no MX host of the domain (" + strings.Join(never, ", ") + ")"
		if enforced {
			mail.Text += "; tell the domain's postmaster; an override can let the mail pass"
		}
	}
	return mail
}

// Text says why a domain has no policy, and what that means for mail.
func (n Negative) Text() string {
	switch n.Outcome {
	case resolver.Absent.String():
		return "The DNS says that the domain has no MTA-STS policy."
	case resolver.Unknown.String():
		return "The DNS does not say whether the domain has a policy (" + term.Plural(n.Failures, "failure") + " in " +
			"a row)."
	case resolver.Unfetched.String():
		return "The domain announces a policy, id " + n.FailedID + ", which cannot be fetched or is invalid (" +
			term.Plural(n.Failures, "failure") + " in a row)."
	default:
		return "A fault of this host prevents the lookup."
	}
}
