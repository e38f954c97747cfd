package resolver

import (
	"context"

	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// DNS is what the resolver asks of a DNS client; *dnsclient.Client is one. Names are without the final dot. A lookup
// ends promptly when its context does.
type DNS interface {
	TXT(ctx context.Context, name string) (dnsclient.Answer[string], error)
	dane.DNS
}
