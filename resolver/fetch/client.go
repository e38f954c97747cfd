package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
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

// Fetch gets and parses a domain's policy. Every error is a *Error; when ctx ended first, it wraps ctx's error, or the
// cause that WithLimit was given.
func (f *Client) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	r, failed := f.get(ctx, domain)
	if failed != nil {
		return mtasts.Policy{}, newError(domain, failed)
	}
	p, err := mtasts.ParsePolicy(r.body)
	if err != nil {
		return mtasts.Policy{}, &Error{Domain: domain, Kind: Invalid, Err: err}
	}
	return p, nil
}

// response is what one attempt to get the policy file has brought.
type response struct {
	body []byte
	seen
}

// get gets the policy file, from the first address of the policy host that serves it, or through the proxy.
func (f *Client) get(caller context.Context, domain dnsname.Name) (response, failures) {
	if f.cfg.Roots == nil {
		return response{}, failures{{kind: Unreachable, err: ErrNoRoots}}
	}
	ctx, limit, cancel := WithLimit(caller, f.cfg.Timeout, fmt.Errorf("not finished within %v", f.cfg.Timeout))
	defer cancel()
	target, err := url.Parse(PolicyURL(domain))
	if err != nil {
		return response{}, failures{{kind: Unreachable, err: err}}
	}
	proxy, err := f.proxy(target)
	if err != nil {
		return response{}, failures{{kind: Unreachable, err: err}}
	}
	x := exchange{client: f, caller: caller, target: target, proxy: proxy}
	if proxy != nil {
		r, fail := x.run(ctx, dialProxy, func() {})
		if fail != nil {
			return response{}, failures{fail}
		}
		return r, nil
	}
	try := func(ctx context.Context, to netip.AddrPort, connected func()) (response, *failure) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dialer.connect(ctx, to) }
		x := x
		x.to = to
		return x.run(ctx, dial, connected)
	}
	r := newRace(f.dialer, PolicyHost(domain), 443, try, func(response) {})
	r.stall = min(stallDelay, limit.left()/4)
	if end, ok := caller.Deadline(); ok {
		r.stall = min(r.stall, time.Until(end)/4)
	}
	r.admit = func(to netip.Addr) error { return Admit(ctx, fair.NetworkOf(to)) }
	return r.run(ctx)
}

var errTooLarge = fmt.Errorf("the policy is larger than %d bytes", maxPolicy)

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
			return MediaType, fmt.Errorf("content encoding %.40q, though identity was asked for", encoding)
		}
	}
	if given := resp.Header.Values("Content-Type"); !isPlainText(given) {
		return MediaType, fmt.Errorf("media type %.40q, not text/plain", strings.Join(given, ", "))
	}
	if resp.ContentLength > maxPolicy {
		return TooLarge, errTooLarge
	}
	return 0, nil
}

// isPlainText reports whether the fields of a Content-Type say text/plain and nothing else. A field that came twice,
// and a list of equal types, count as one. The parameters say nothing that matters, so they may be malformed.
func isPlainText(fields []string) bool {
	found := false
	for _, field := range fields {
		for _, element := range listElements(field) {
			media, _, _ := strings.Cut(element, ";")
			if media = strings.TrimSpace(media); media == "" && !strings.Contains(element, ";") {
				continue // an empty element of a list (RFC 9110 section 5.6.1)
			}
			if !strings.EqualFold(media, "text/plain") {
				return false
			}
			found = true
		}
	}
	return found
}

// listElements splits the value of a field at commas outside of quotes.
func listElements(value string) []string {
	quoted := false
	return strings.FieldsFunc(value, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}
