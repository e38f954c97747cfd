package dnsclient

import (
	"context"
	"strings"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// question is what one message asks; the class is always IN.
type question struct {
	name   string // canonical
	qtype  uint16
	dnssec bool // with the DO bit
}

// resolve asks for name, and for what it is an alias for, until the records or a denial are found. Its error lacks only
// Name and Type.
func (c *Client) resolve(ctx context.Context, name string, qtype uint16) (finding, *Error) {
	asked, ok := canonical(name)
	if !ok {
		return finding{denial: NXDomain}, nil
	}
	f := newFinding(asked)
	for f.open {
		next, fail := c.ask(ctx, f, qtype)
		if fail != nil {
			if f.end() != asked {
				fail.Target = strings.TrimSuffix(f.end(), ".")
			}
			return finding{}, fail
		}
		f = next
	}
	return f, nil
}

// ask puts the question for the last name of f to one server after the other, until one answers it or the attempts are
// used up.
func (c *Client) ask(ctx context.Context, f finding, qtype uint16) (finding, *Error) {
	servers := c.roster.order()
	q := question{name: f.end(), qtype: qtype, dnssec: c.dnssec}
	var worst *Error
	for i := range max(c.attempts, len(servers)) {
		s := servers[i%len(servers)]
		next, fail := c.attempt(ctx, s, f, q)
		if fail == nil {
			return next, nil
		}
		fail.Server, fail.Attempts = s.addr.String(), i+1
		if fail.Kind == Cancelled || fail.Kind == CNAMELoop { // no other server can help
			return finding{}, fail
		}
		// What a server made of the question counts more than that another could not be asked.
		if worst == nil || fault.Of(worst) != fault.Domain || fault.Of(fail) == fault.Domain {
			worst = fail
		}
		worst.Attempts = i + 1
	}
	return finding{}, worst
}

// attempt asks one server.
func (c *Client) attempt(ctx context.Context, s *server, f finding, q question) (finding, *Error) {
	m, fail := c.exchange(ctx, s, q)
	c.roster.note(s, fail)
	if fail != nil {
		return finding{}, fail
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return finding{}, &Error{Kind: ServerFailure, Rcode: m.Rcode, Detail: extendedError(m)}
	}
	f, fail = f.advance(m, q.qtype)
	f.authentic = f.authentic && m.AuthenticatedData && s.believed
	return f, fail
}

// extendedError names the server's reasons for a failure (RFC 8914), which often are all that an administrator needs.
// The server's free text is left out.
func extendedError(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	var reasons []string
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && len(reasons) < 3 {
			if s, ok := dns.ExtendedErrorCodeToString[e.InfoCode]; ok {
				reasons = append(reasons, s)
			}
		}
	}
	return strings.Join(reasons, ", ")
}
