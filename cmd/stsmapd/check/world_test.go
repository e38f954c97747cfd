package check

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// testDomain is the one domain of each world.
const testDomain = "example.org"

// testNow is the time that the checks take it to be. It lies in a future that the certificates reach, because the
// policy host's is verified by the real clock.
func testNow() time.Time { return time.Date(2080, 6, 1, 12, 0, 0, 0, time.UTC) }

// ends of certificates.
func farEnd() time.Time  { return time.Date(2081, 3, 1, 0, 0, 0, 0, time.UTC) }
func pastEnd() time.Time { return time.Date(2021, 3, 1, 0, 0, 0, 0, time.UTC) }

// authority signs certificates. Ed25519 makes all of them the same in each run.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key := keyOf(name)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}}, IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign, NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// issue makes a server's certificate that ends then.
func (a *authority) issue(t testing.TB, end time.Time, names ...string) *tls.Certificate {
	t.Helper()
	return a.issueFor(t, keyOf(names[0]), end, names...)
}

func (a *authority) issueFor(t testing.TB, key crypto.Signer, end time.Time, names ...string) *tls.Certificate {
	t.Helper()
	return a.issueBetween(t, key, [2]time.Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), end}, names...)
}

func (a *authority) issueBetween(t testing.TB, key crypto.Signer, life [2]time.Time, names ...string) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: life[0], NotAfter: life[1],
	}
	der, err := x509.CreateCertificate(nil, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// world is a DNS server, policy hosts and MX hosts on loopback addresses, and a network that leads to them from the
// addresses of the Internet that the DNS tells. Everything in it ends with the test.
type world struct {
	t       testing.TB
	dns     *dnstest.Server
	ca      *authority // trusted
	unknown *authority // trusted by nobody
	opts    Options    // of the next check; a test may change them

	domain string // that is being set up

	mu     sync.Mutex
	routes map[netip.AddrPort]string // to listeners
	hosts  uint16
}

func newWorld(t testing.TB) *world {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := &world{t: t, dns: dnstest.New(t, dnstest.Config{}), ca: newAuthority(t, "Good CA"),
		unknown: newAuthority(t, "Unknown CA"),
		routes:  map[netip.AddrPort]string{}, domain: testDomain}
	client, err := dnsclient.New(dnsclient.Config{Servers: []string{w.dns.Addr()}, Timeout: testkit.Hang, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.opts = Options{
		DNS: client, ADTrusted: true, Helo: "checker.example.net", Step: testkit.Hang, Timeout: testkit.Hang,
		Dial: w.dial,
		Now:  testNow,
		Fetch: fetch.Config{
			Roots: pool([]*x509.Certificate{w.ca.cert}), Timeout: testkit.Hang, UserAgent: "test"},
	}
	return w
}

// check checks the domain.
func (w *world) check() *Report { return New(w.opts).Check(w.t.Context(), w.destination(), nil) }

func (w *world) destination() dane.Destination {
	return dane.Destination{Domain: dnsname.MustParse(w.domain)}
}

// dial is the network: an address without a route refuses.
func (w *world) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	listener, ok := w.routes[to]
	w.mu.Unlock()
	switch {
	case !ok:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case listener == "":
		<-ctx.Done() // a black hole
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", listener)
	if err != nil {
		return nil, err
	}
	return farConn{c, net.TCPAddrFromAddrPort(to)}, nil
}

// farConn is a connection that is said to lead to another address.
type farConn struct {
	net.Conn
	remote net.Addr
}

func (c farConn) RemoteAddr() net.Addr { return c.remote }

// address gives a name an address of its own; it has no routes yet.
func (w *world) address(name string) netip.Addr {
	w.mu.Lock()
	w.hosts++
	a := netip.AddrFrom4([4]byte{5, 0, byte(w.hosts >> 8), byte(w.hosts)})
	w.mu.Unlock()
	w.dns.Add(fmt.Sprintf("%s. 300 IN A %s", name, a))
	return a
}

// route leads a port of the address to a new listener.
func (w *world) route(a netip.Addr, port uint16) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.lead(a, port, l.Addr().String())
	return l
}

func (w *world) lead(a netip.Addr, port uint16, listener string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.routes[netip.AddrPortFrom(a, port)] = listener
}

// record publishes the TXT record.
func (w *world) record(texts ...string) {
	for _, text := range texts {
		w.dns.Add(fmt.Sprintf("_mta-sts.%s. 300 IN TXT %q", w.domain, text))
	}
}

// publish publishes record and policy; the policy host's certificate is good.
func (w *world) publish(policy string) {
	w.serve(w.ca.issue(w.t, farEnd(), "mta-sts."+w.domain), func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(rw, policy)
	})
}

// serve publishes the record and runs the policy host.
func (w *world) serve(cert *tls.Certificate, handler http.HandlerFunc) {
	w.record("v=STSv1; id=20800101")
	l := w.route(w.address("mta-sts."+w.domain), 443)
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{*cert}},
		ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(l, "", "")
	}()
	w.t.Cleanup(func() { _ = server.Close(); <-served })
}

// policy is a policy file.
func policy(mode string, mx ...string) string {
	text := "version: STSv1\r\nmode: " + mode + "\r\n"
	for _, m := range mx {
		text += "mx: " + m + "\r\n"
	}
	return text + "max_age: 604800\r\n"
}

// mx makes hosts the domain's MX records, in this order.
func (w *world) mx(hosts ...string) {
	for i, h := range hosts {
		w.dns.Add(fmt.Sprintf("%s. 300 IN MX %d %s.", w.domain, 10*(i+1), h))
	}
}

// mail runs a mail server. Without a certificate it offers no STARTTLS.
func (w *world) mail(name string, cfg *tls.Config) netip.Addr {
	a := w.address(name)
	w.mailAt(a, name, cfg)
	return a
}

func (w *world) mailAt(a netip.Addr, name string, cfg *tls.Config) {
	l := w.route(a, 25)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return noMail{w.t}, nil }))
	server.Domain, server.TLSConfig, server.ErrorLog = name, cfg, log.New(io.Discard, "", 0)
	server.EnableREQUIRETLS = strings.HasPrefix(name, "mx2.") // announced after the handshake
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Hang)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			w.t.Errorf("mail server %s: %v", name, err)
		}
		<-served
	})
}

// noMail is a session in which nothing must be sent.
type noMail struct{ t testing.TB }

var errNoMail = errors.New("no mail is expected")

func (n noMail) Mail(from string, _ *smtp.MailOptions) error {
	n.t.Errorf("MAIL FROM:<%s>", from)
	return errNoMail
}

func (n noMail) Rcpt(string, *smtp.RcptOptions) error { return errNoMail }
func (n noMail) Data(io.Reader) error                 { return errNoMail }
func (n noMail) Reset()                               {}
func (n noMail) Logout() error                        { return nil }

// good is the TLS of a mail server as it should be.
func (w *world) good(names ...string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*w.ca.issue(w.t, farEnd(), names...)}}
}

// script runs a mail server of which every connection is served by f until it returns.
func (w *world) script(name string, f func(net.Conn)) {
	l := w.route(w.address(name), 25)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	w.t.Cleanup(func() { _ = l.Close(); serving.Wait() })
}

// lines sends one text after each line that comes, the first at once.
func lines(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 4096)
		for _, text := range texts {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}
}

// until reads until the other side closes.
func until(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// tlsa publishes a TLSA record of a mail server for its certificate's key.
func (w *world) tlsa(host string, cfg *tls.Config) {
	leaf, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	w.dns.Add(fmt.Sprintf("_25._tcp.%s. 300 IN TLSA 3 1 1 %X", host, sum))
}
