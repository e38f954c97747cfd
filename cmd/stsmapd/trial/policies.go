package trial

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// policies is a socketmap server that answers for the mail server's next hops as stsmapd answers for domains.
type policies struct {
	listener net.Listener
	server   *socketmap.Server
}

// startPolicies starts the server. All messages but the one without a policy have the same: to be delivered to the mail
// server, which must prove who it is.
func startPolicies(names tlspolicy.MapNames, s *servers) (*policies, error) {
	enforced, err := enforce(host)
	if err != nil {
		return nil, err
	}
	answer := func(_ context.Context, r socketmap.Request) socketmap.Reply {
		features, err := names.Parse(string(r.Map))
		key := string(r.Key)
		switch {
		case err != nil:
			return socketmap.Perm(err.Error())
		case features.Shadow, key != s.hop(valid) && key != s.hop(untrusted) && key != s.hop(misnamed):
			return socketmap.NotFound()
		}
		return tlspolicy.Render(features, enforced)
	}
	listener, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return nil, err
	}
	p := &policies{listener, &socketmap.Server{Logger: slog.New(slog.DiscardHandler),
		Handler: socketmap.HandlerFunc(answer)}}
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

// enforce returns the verdict for a domain with a policy that names this host.
func enforce(host string) (resolver.Verdict, error) {
	policy, err := mtasts.ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: " + host + "\nmax_age: 86400\n"))
	if err != nil {
		return resolver.Verdict{}, err
	}
	domain, err := dnsname.Parse(mailDomain)
	if err != nil {
		return resolver.Verdict{}, err
	}
	now := time.Now()
	found := resolver.NewCachedPolicy(resolver.Entry{Domain: domain, ID: "1", Policy: policy, Fetched: now}, now)
	return resolver.Decide(now, resolver.Question{Destination: dane.Destination{Domain: domain}}, nil, found, nil), nil
}

// address returns the server as a socketmap table names it.
func (p *policies) address() string { return "inet:" + p.listener.Addr().String() }

func (p *policies) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no answer matters any more
	_ = p.server.Shutdown(ctx)
}
