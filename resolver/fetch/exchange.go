package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// exchange is one attempt to get the policy file: from one address of the policy host, or through the proxy.
type exchange struct {
	client *Client
	caller context.Context // the context of Fetch
	target *url.URL
	proxy  *url.URL       // nil: none
	to     netip.AddrPort // without a proxy
}

// seen is what an attempt has seen of the policy host.
type seen struct {
	via   string              // "with 192.0.2.1:443"; "" where there was no connection
	tls   tls.ConnectionState // zero where the handshake did not succeed
	chain []*x509.Certificate // what the policy host sent, verified or not
}

// run gets the policy file over a connection of dial.
func (x exchange) run(ctx context.Context, dial dialFunc, connected func()) (response, *failure) {
	at := &progress{}
	at.reach("connect")
	if x.proxy != nil {
		at.goVia(" through the proxy ", x.proxy.Host)
		at.enterProxy()
	} else {
		at.goVia(" to ", x.to.String())
	}
	var (
		mu    sync.Mutex // a handshake that nobody waits for any more may end later
		state tls.ConnectionState
	)
	ctx = httptrace.WithClientTrace(at.trace(ctx), &httptrace.ClientTrace{
		TLSHandshakeDone: func(s tls.ConnectionState, _ error) {
			mu.Lock()
			defer mu.Unlock()
			state = s // with an error it is the zero state; the last handshake is that with the policy host
		}})
	r, kind, err := x.get(ctx, dial, connected, at)
	mu.Lock()
	defer mu.Unlock()
	r.via, r.tls, r.chain = strings.TrimSpace(at.reachedBy()), state, chainOf(state, kind, err)
	if err != nil {
		stage, via := at.where()
		return response{}, &failure{stage: stage, host: via, kind: kind, err: err, seen: r.seen}
	}
	return r, nil
}

// dialFunc is that of http.Transport.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// get gets the policy file. The kind is that of the error.
func (x exchange) get(ctx context.Context, dial dialFunc, connected func(), at *progress) (response, Kind, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.target.String(), nil)
	if err != nil {
		return response{}, Unreachable, err
	}
	req.Header.Set("User-Agent", x.client.cfg.UserAgent)
	req.Header.Set("Accept", "text/plain")
	req.Header.Set("Accept-Encoding", "identity")
	begin := time.Now()
	resp, err := x.transport(ctx, dial, connected, at).RoundTrip(req)
	if err != nil {
		kind, err := transferKind(err), stopped(x.caller, ctx, err)
		if at.atProxy() && !x.client.proxyAnswers(ctx, begin) {
			err = ofProxy(err)
		}
		return response{}, kind, err
	}
	defer resp.Body.Close()
	if kind, err := checkHead(resp); err != nil {
		return response{}, kind, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	switch {
	case err != nil:
		return response{}, transferKind(err), stopped(x.caller, ctx, err)
	case len(body) > maxPolicy:
		return response{}, TooLarge, errTooLarge
	}
	return response{body: body}, 0, nil
}

// transport serves one attempt. It speaks HTTP/1.1 only: one small GET needs no more, and there is less to attack.
// RoundTrip follows no redirect and keeps no cookie and no cache. Its connections end with ctx; http.Transport would
// have let them outlive the request, so what it gives as a context is not used. A proxy is the administrator's: the
// system's resolver finds it, and it may have any address. It finds the policy host itself.
func (x exchange) transport(ctx context.Context, dial dialFunc, connected func(), at *progress) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyURL(x.proxy),
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			connected()
			at.connected()
			via := " with "
			if x.proxy != nil {
				via = " through the proxy "
			}
			at.goVia(via, c.RemoteAddr().String())
			if x.proxy != nil && strings.HasPrefix(x.proxy.Scheme, "socks") {
				at.leaveProxy() // what it says of the policy host comes as an error of no type
			}
			return hold(ctx, c), nil
		},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			return x.client.checkConnect(resp, at)
		},
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, // RFC 8461 section 7.2
			RootCAs:    x.client.cfg.Roots,
			NextProtos: []string{"http/1.1"},
			// A policy is public, so nobody gains by recording it for the day of quantum computers: no hybrid key
			// exchange, which takes more time than all others together, and a ClientHello of two packets.
			CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
	}
}

// transferKind tells a bad certificate of the policy host from all else that can stop a transfer, a bad one of a proxy
// included.
func transferKind(err error) Kind {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) && !isProxyConnect(err) {
		return Certificate
	}
	return Unreachable
}

// stopped is the reason why ctx, or the caller's context that it comes from, ended; if neither has, err. When a context
// ends, http.Transport says any of several things.
func stopped(caller, ctx context.Context, err error) error {
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert), fault.Of(err) == fault.Exhausted: // this is no consequence of a context's end
		return err
	case LimitEnded(caller): // it says more than "context canceled"
		return context.Cause(caller)
	case caller.Err() != nil && context.Cause(caller) != caller.Err():
		return fmt.Errorf("%w: %w", caller.Err(), context.Cause(caller))
	case caller.Err() != nil:
		return caller.Err()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}
