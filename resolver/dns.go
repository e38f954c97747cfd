package resolver

import (
	"context"
	"net/netip"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// DNS is what the resolver asks of a DNS client; *dnsclient.Client is one. Names are without the final dot. A lookup
// ends promptly when its context does.
type DNS interface {
	TXT(ctx context.Context, name string) (dnsclient.Answer[string], error)
	A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error)
	AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error)
	MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error)
	TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error)
}
