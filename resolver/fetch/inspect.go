package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"

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

// Inspect fetches as Fetch does, by the same code, and tells what it saw, whatever came of it.
func (f *Client) Inspect(ctx context.Context, domain dnsname.Name) Inspection {
	var (
		at  progress
		mu  sync.Mutex // a handshake that nobody waits for any more may end later
		in  Inspection
		tap = &httptrace.ClientTrace{TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			mu.Lock()
			defer mu.Unlock()
			in.TLS = state // with an error it is the zero state; the last handshake is that with the policy host
		}}
	)
	body, kind, err := f.get(httptrace.WithClientTrace(ctx, tap), domain, &at)
	mu.Lock()
	defer mu.Unlock()
	seen := in
	seen.Via = strings.TrimSpace(at.reachedBy())
	seen.Chain = chainOf(seen.TLS, kind, err)
	if err != nil {
		seen.Err = &Error{Domain: domain, Kind: kind, Err: err, at: at.where()}
		return seen
	}
	seen.Body = body
	if seen.Policy, err = mtasts.ParsePolicy(body); err != nil {
		seen.Err = &Error{Domain: domain, Kind: Invalid, Err: err}
	}
	return seen
}

// chainOf is the policy host's certificates: those of the connection, or those for which there is none.
func chainOf(state tls.ConnectionState, kind Kind, err error) []*x509.Certificate {
	var bad *tls.CertificateVerificationError
	if kind == Certificate && errors.As(err, &bad) {
		return bad.UnverifiedCertificates
	}
	return state.PeerCertificates
}

// reachedBy is how the policy host was reached, "" where it was not.
func (p *progress) reachedBy() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.via
}

// ConnectBy makes the fetcher connect to policy hosts by this function in place of TCP; it is only given addresses that
// the fetcher has judged. It must be called before the first fetch.
func (f *Client) ConnectBy(connect func(context.Context, netip.AddrPort) (net.Conn, error)) {
	f.dialer.connect = connect
}
