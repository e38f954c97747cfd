package fetch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	goodPolicy = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.test\r\nmax_age: 604800\r\n"
	goodHead   = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	policyHost = "mta-sts.example.test"
	publicIPv4 = "5.0.0.1"
)

func fetchDomain() dnsname.Name { return dnsname.MustParse("example.test") }

// noLeaks fails a test that leaves goroutines behind. It must be called before anything else that has a cleanup.
func noLeaks(t *testing.T) { t.Cleanup(func() { goleak.VerifyNone(t) }) }

// testCA signs certificates.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB) *testCA {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "test CA " + serial(t).String()}, IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
	}
	return sign(t, template, nil)
}

func serial(t testing.TB) *big.Int {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sign makes a key and its certificate, signed by ca or, where ca is nil, by itself.
func sign(t testing.TB, template *x509.Certificate, ca *testCA) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{cert, key}
}

func (ca *testCA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

func (ca *testCA) chain(more ...*testCA) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}
	for _, m := range more {
		c.Certificate = append(c.Certificate, m.cert.Raw)
	}
	return c
}

// leaf is a template of a valid server certificate for names.
func leaf(t testing.TB, names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(t), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

// peer is a listener whose connections are served by one function; all of them have ended when the test has.
type peer struct {
	net.Listener
	serving sync.WaitGroup
}

// listen serves each connection by f, which must return when it is closed.
func listen(t testing.TB, f func(net.Conn)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l}
	p.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.serving.Wait()
	})
	return p
}

// policyServer is the policy host: real TLS, then f, after it has read a request.
type policyServer struct {
	ca *testCA
	*peer
}

func servePolicy(t testing.TB, f func(c *tls.Conn)) *policyServer {
	t.Helper()
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	return &policyServer{ca, listen(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, f))}
}

func overTLS(cfg *tls.Config, f func(*tls.Conn)) func(net.Conn) {
	return func(raw net.Conn) {
		c := tls.Server(raw, cfg)
		if c.Handshake() != nil {
			return
		}
		if _, err := readRequest(c); err == nil {
			f(c)
		}
	}
}

// readRequest reads the head of a request, which is all of it.
func readRequest(c net.Conn) (string, error) {
	var head []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(head), "\r\n\r\n") {
		n, err := c.Read(buf)
		if err != nil {
			return "", err
		}
		head = append(head, buf[:n]...)
	}
	return string(head), nil
}

// respond answers with a fixed text and ends TLS properly.
func respond(text string) func(*tls.Conn) {
	return func(c *tls.Conn) {
		if _, err := c.Write([]byte(text)); err == nil {
			c.Close()
		}
	}
}

// openConns are the connections of a fetcher that it has not closed.
type openConns struct {
	all sync.WaitGroup
}

type openConn struct {
	*net.TCPConn
	closed func()
}

func (c openConn) Close() error {
	err := c.TCPConn.Close()
	c.closed()
	return err
}

func (o *openConns) add(c net.Conn) net.Conn {
	o.all.Add(1)
	return openConn{c.(*net.TCPConn), sync.OnceFunc(o.all.Done)}
}

// wantClosed fails the test if a connection stays open.
func (o *openConns) wantClosed(t testing.TB) {
	none := make(chan struct{})
	go func() {
		o.all.Wait()
		close(none)
	}()
	select {
	case <-none:
	case <-time.After(testkit.Hang):
		t.Error("a connection is left open")
	}
}

// newTestFetcher makes a fetcher without a proxy for which the policy host has the address publicIPv4, port 443 of
// which is p. It fails the test if a connection is left open.
func newTestFetcher(t testing.TB, p net.Listener, cfg Config) *Client {
	t.Helper()
	dns := &addressDNS{t: t, host: policyHost, v4: said{addrs: []string{publicIPv4}}}
	f := New(dns, cfg)
	f.dialer.hasIPv6 = func() bool { return true } // whatever the machine has
	f.proxy = func(*url.URL) (*url.URL, error) { return nil, nil }
	open := new(openConns)
	t.Cleanup(func() { open.wantClosed(t) })
	f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		if to != netip.AddrPortFrom(netip.MustParseAddr(publicIPv4), 443) {
			t.Errorf("unexpected connection to %v", to)
			return nil, fmt.Errorf("unexpected connection to %v", to)
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.Addr().String())
		if err != nil {
			return nil, err
		}
		return open.add(c), nil
	}
	return f
}

// fetchFrom fetches from the policy host, which has all the time it wants.
func fetchFrom(t testing.TB, s *policyServer) (mtasts.Policy, error) {
	t.Helper()
	return newTestFetcher(t, s, Config{Roots: s.ca.pool()}).Fetch(t.Context(), fetchDomain())
}

// wantFetch checks the outcome of a fetch: kind 0 is success.
func wantFetch(t testing.TB, why string, p mtasts.Policy, err error, kind Kind, text string) {
	t.Helper()
	if kind == 0 {
		if err != nil {
			t.Errorf("%s: %v", why, err)
		} else if p.Mode != mtasts.ModeEnforce {
			t.Errorf("%s: policy %+v", why, p)
		}
		return
	}
	var failed *Error
	if !errors.As(err, &failed) {
		t.Errorf("%s: error %v (%T), want a *FetchError", why, err, err)
		return
	}
	if failed.Kind != kind || failed.Domain != fetchDomain() {
		t.Errorf("%s: kind %v, domain %v, want %v: %v", why, failed.Kind, failed.Domain, kind, err)
	}
	if !strings.Contains(err.Error(), text) ||
		!strings.HasPrefix(err.Error(), "fetch https://mta-sts.example.test/.well-known/mta-sts.txt: ") {
		t.Errorf("%s: error %q, want the URL and %q in it", why, err, text)
	}
	if len(err.Error()) > 800 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("%s: error is not one printable short line: %q", why, err)
	}
	if len(p.MX()) > 0 || p.Text != "" {
		t.Errorf("%s: a policy beside an error", why)
	}
}
