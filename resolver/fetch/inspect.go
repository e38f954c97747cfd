package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Inspection is a fetch, and what was seen on its way: for people who look for a fault, or for theirs.
type Inspection struct {
	Policy mtasts.Policy // valid where Err is nil
	Err    error         // exactly that of Fetch
	Body   []byte        // the policy file, valid or not; nil where there was none that Fetch would parse
	// "with 192.0.2.1:443" or "through the proxy proxy.example:3128"; "" where there was no connection
	Via string
	TLS tls.ConnectionState // of the connection to the policy host; zero where the handshake did not succeed
	// Chain is what the policy host sent for certificates, its own first, verified or not; nil where it sent none.
	Chain []*x509.Certificate
}

// Inspect fetches as Fetch does, by the same code, and tells what it saw, whatever came of it. Of several addresses
// that failed it shows the one that Err is about.
func (f *Client) Inspect(ctx context.Context, domain dnsname.Name) Inspection {
	r, failed := f.get(ctx, domain)
	if failed != nil {
		r.seen = failed.decisive().seen
	}
	in := Inspection{Via: r.via, TLS: r.tls, Chain: r.chain}
	if failed != nil {
		in.Err = newError(domain, failed)
		return in
	}
	in.Body = r.body
	var err error
	if in.Policy, err = mtasts.ParsePolicy(r.body); err != nil {
		in.Err = &Error{Domain: domain, Kind: Invalid, Err: err}
	}
	return in
}

// chainOf is the policy host's certificates: those of the connection, or those for which there is none.
func chainOf(state tls.ConnectionState, kind Kind, err error) []*x509.Certificate {
	var bad *tls.CertificateVerificationError
	if kind == Certificate && errors.As(err, &bad) {
		return bad.UnverifiedCertificates
	}
	return state.PeerCertificates
}

// ConnectBy makes the fetcher connect to policy hosts by this function in place of TCP; it is only given addresses that
// the fetcher has judged. It must be called before the first fetch.
func (f *Client) ConnectBy(connect func(context.Context, netip.AddrPort) (net.Conn, error)) {
	f.dialer.connect = connect
}
