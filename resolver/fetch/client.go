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
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// PolicyHost is the name that serves a domain's policy (RFC 8461 section 3.3).
func PolicyHost(domain dnsname.Name) string { return "mta-sts." + domain.String() }

// PolicyURL is where a domain's policy is (RFC 8461 section 3.3).
func PolicyURL(domain dnsname.Name) string {
	return "https://" + PolicyHost(domain) + "/.well-known/mta-sts.txt"
}

const (
	// maxPolicy is the size that RFC 8461 section 3.3 suggests as the limit of a policy body, in bytes.
	maxPolicy = 64 << 10
	// maxHead bounds the head of a response, and of a proxy's, 1xx responses before it included, in bytes.
	maxHead = 32 << 10
)

// Config is how policies are fetched.
type Config struct {
	Timeout time.Duration // of one fetch in all, DNS and body included; 0 = 30 s
	// AllowPrivate are networks in which loopback, private and other special addresses are connected to too.
	AllowPrivate []netip.Prefix
	Roots        *x509.CertPool // trusted; nil or empty: every fetch fails with ErrNoRoots, without asking anyone
	UserAgent    string
}

// Client fetches policies by HTTPS, by every rule of RFC 8461 section 3.3. It is safe for concurrent use and keeps
// no connection, cookie or cache between fetches.
type Client struct {
	cfg    Config
	dialer *dialer
	proxy  func(*url.URL) (*url.URL, error)

	// when a proxy last answered a CONNECT with what is no refusal of this host; nil: never
	proxyAnswered atomic.Pointer[time.Time]
}

// New makes a fetcher. HTTPS_PROXY and NO_PROXY are read now.
func New(dns DNS, cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Roots != nil && cfg.Roots.Equal(x509.NewCertPool()) {
		cfg.Roots = nil
	}
	connect := func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
		if err != nil {
			return nil, ofRoute(to, err)
		}
		return c, nil
	}
	return &Client{
		cfg: cfg,
		dialer: &dialer{dns: dns, filter: newAddressFilter(), allowPrivate: cfg.AllowPrivate, connect: connect,
			hasIPv6: hostHasIPv6},
		proxy: proxyFunc(httpproxy.FromEnvironment()),
	}
}

// HasRoots reports whether there is a trusted CA; without one every fetch fails with ErrNoRoots.
func (f *Client) HasRoots() bool { return f.cfg.Roots != nil }

// proxyFunc tells the proxy for a URL. httpproxy takes an HTTPS_PROXY that it cannot read for none: then nothing is
// fetched instead, for who set it does not want what would go past it.
func proxyFunc(env *httpproxy.Config) func(*url.URL) (*url.URL, error) {
	if _, err := url.Parse(env.HTTPSProxy); err != nil {
		if _, err := url.Parse("http://" + env.HTTPSProxy); err != nil {
			// No more of it than this: there may be a password in it.
			return func(*url.URL) (*url.URL, error) {
				return nil, ofProxy(errors.New("the value of HTTPS_PROXY is no URL"))
			}
		}
	}
	return env.ProxyFunc()
}

// Fetch gets and parses a domain's policy. Every error is a *Error; when ctx ended first, it wraps ctx's error.
func (f *Client) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	var at progress
	body, kind, err := f.get(ctx, domain, &at)
	if fault.Of(err) != fault.Domain {
		kind = HostFault
	}
	if err != nil {
		return mtasts.Policy{}, &Error{Domain: domain, Kind: kind, Err: err, at: at.where()}
	}
	p, err := mtasts.ParsePolicy(body)
	if err != nil {
		return mtasts.Policy{}, &Error{Domain: domain, Kind: Invalid, Err: err}
	}
	return p, nil
}

// get gets the policy file. The kind is that of the error.
func (f *Client) get(caller context.Context, domain dnsname.Name, at *progress) ([]byte, Kind, error) {
	if f.cfg.Roots == nil {
		return nil, Unreachable, ErrNoRoots
	}
	ctx, cancel := context.WithTimeoutCause(caller, f.cfg.Timeout, fmt.Errorf("not finished within %v", f.cfg.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(at.trace(ctx), http.MethodGet, PolicyURL(domain), nil)
	if err != nil {
		return nil, Unreachable, err
	}
	req.Header.Set("User-Agent", f.cfg.UserAgent)
	req.Header.Set("Accept", "text/plain")
	proxy, err := f.proxy(req.URL)
	if err != nil {
		return nil, Unreachable, err
	}
	at.reach("connect")
	begin := time.Now()
	resp, err := f.transport(ctx, proxy, at).RoundTrip(req)
	if err != nil {
		kind, err := transferKind(err), stopped(caller, ctx, err)
		if at.atProxy() && !f.proxyAnswers(ctx, begin) {
			err = ofProxy(err)
		}
		return nil, kind, err
	}
	defer resp.Body.Close()
	if kind, err := checkHead(resp); err != nil {
		return nil, kind, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	switch {
	case err != nil:
		return nil, transferKind(err), stopped(caller, ctx, err)
	case len(body) > maxPolicy:
		return nil, TooLarge, errTooLarge
	}
	return body, 0, nil
}

var errTooLarge = fmt.Errorf("the policy is larger than %d bytes", maxPolicy)

// transport serves one fetch. It speaks HTTP/1.1 only: one small GET needs no more, and there is less to attack.
// RoundTrip follows no redirect and keeps no cookie and no cache. Its connections end with ctx; http.Transport would
// have let them outlive the request, so what it gives as a context is not used.
func (f *Client) transport(ctx context.Context, proxy *url.URL, at *progress) *http.Transport {
	dial, via := f.dialer.DialContext, " with "
	if proxy != nil {
		// The proxy is the administrator's: the system's resolver finds it, and it may have any address. It finds the
		// policy host itself.
		dial, via = dialProxy, " through the proxy "
		at.goVia(via + proxy.Host)
		at.enterProxy()
	}
	return &http.Transport{
		Proxy: http.ProxyURL(proxy),
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			at.goVia(via + c.RemoteAddr().String())
			if proxy != nil && strings.HasPrefix(proxy.Scheme, "socks") {
				at.leaveProxy() // what it says of the policy host comes as an error of no type
			}
			return hold(ctx, c), nil
		},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			return f.checkConnect(resp, at)
		},
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, // RFC 8461 section 7.2
			RootCAs:    f.cfg.Roots,
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
	case caller.Err() != nil && context.Cause(caller) != caller.Err():
		return fmt.Errorf("%w: %w", caller.Err(), context.Cause(caller))
	case caller.Err() != nil:
		return caller.Err()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// checkHead holds the head of a response to RFC 8461 sections 3.2 (media type) and 3.3 (status, size).
func checkHead(resp *http.Response) (Kind, error) {
	switch {
	case resp.StatusCode/100 == 3:
		return Refused, fmt.Errorf("HTTP status %d, not 200 (RFC 8461 section 3.3 forbids to follow redirects)",
			resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return Refused, fmt.Errorf("HTTP status %d, not 200", resp.StatusCode)
	}
	for _, encoding := range resp.Header.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return MediaType, fmt.Errorf("content encoding %.40q, though none was asked for", encoding)
		}
	}
	// The parameters say nothing that matters, so they may be malformed.
	given := resp.Header.Get("Content-Type")
	if media, _, _ := strings.Cut(given, ";"); !strings.EqualFold(strings.TrimSpace(media), "text/plain") {
		return MediaType, fmt.Errorf("media type %.40q, not text/plain", given)
	}
	if resp.ContentLength > maxPolicy {
		return TooLarge, errTooLarge
	}
	return 0, nil
}
