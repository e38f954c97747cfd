package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"strings"
	"testing"
	"time"
)

// TestFetchCertificate: the certificate must be valid for the DNS-ID mta-sts.<domain> (RFC 8461 section 3.3).
func TestFetchCertificate(t *testing.T) {
	noLeaks(t)
	ca, untrusted := newCA(t), newCA(t)
	between := sign(t, &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "intermediate"}, IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
	}, ca)
	named := func(names ...string) tls.Certificate { return sign(t, leaf(t, names...), ca).chain() }
	changed := func(ca *testCA, change func(*x509.Certificate)) tls.Certificate {
		template := leaf(t, policyHost)
		change(template)
		return sign(t, template, ca).chain()
	}
	for _, c := range []struct {
		why  string
		cert tls.Certificate
		kind Kind
		text string
	}{
		{"the policy host's name", named(policyHost), 0, ""},
		{"names are compared without regard to case", named("MTA-STS.Example.TEST"), 0, ""},
		{"one of several names", named("www.example.test", policyHost), 0, ""},
		{"a wildcard as the whole left-most label", named("*.example.test"), 0, ""},
		{"a chain with its intermediate", sign(t, leaf(t, policyHost), between).chain(between), 0, ""},
		{"a wildcard as a part of a label", named("mta-*.example.test"), Certificate,
			"mta-*.example.test, not mta-sts.example.test"},
		{"a wildcard never covers two labels", named("*.test"), Certificate, "*.test, not"},
		{"a wildcard in another label", named("mta-sts.*.test"), Certificate, "mta-sts.*.test, not"},
		{"a wildcard alone", named("*"), Certificate, "not"},
		{"the policy domain itself", named("example.test"), Certificate,
			"valid for example.test, not mta-sts.example.test"},
		{"a longer name", named("www.mta-sts.example.test"), Certificate, "not mta-sts.example.test"},
		{"more names than any log wants",
			named(strings.Fields(strings.Repeat(strings.Repeat("x", 60)+".example.test ", 90))...), Certificate,
			"…"},
		{"the common name counts nothing", changed(ca, func(c *x509.Certificate) {
			c.DNSNames, c.Subject = nil, pkix.Name{CommonName: policyHost}
		}), Certificate, "Common Name"},
		{"neither does it beside a SAN", changed(ca, func(c *x509.Certificate) {
			c.DNSNames, c.Subject = []string{"www.example.test"}, pkix.Name{CommonName: policyHost}
		}), Certificate, "valid for www.example.test, not"},
		{"the address that was connected to", changed(ca, func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = nil, []net.IP{net.ParseIP(publicIPv4), net.ParseIP("127.0.0.1")}
		}), Certificate, "not valid for any names"},
		{"expired", changed(ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			Certificate, "expired"},
		{"not valid yet", changed(ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
			Certificate, "not yet valid"},
		{"self-signed", changed(nil, func(*x509.Certificate) {}), Certificate, "unknown authority"},
		{"of a CA that is not trusted", changed(untrusted, func(*x509.Certificate) {}), Certificate,
			"unknown authority"},
		{"a chain without its intermediate", sign(t, leaf(t, policyHost), between).chain(), Certificate,
			"unknown authority"},
		{"for clients only", changed(ca,
			func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			Certificate, "incompatible key usage"},
	} {
		t.Run(c.why, func(t *testing.T) {
			served := false
			p := listen(t, overTLS(&tls.Config{Certificates: []tls.Certificate{c.cert}}, func(conn *tls.Conn) {
				served = true
				respond(goodHead + "\r\n" + goodPolicy)(conn)
			}))
			policy, err := newTestFetcher(t, p, Config{Roots: ca.pool()}).Fetch(t.Context(), fetchDomain())
			wantFetch(t, c.why, policy, err, c.kind, c.text)
			p.Close()
			p.serving.Wait()
			if served != (c.kind == 0) {
				t.Errorf("request sent: %v", served)
			}
			if c.kind != 0 && !strings.Contains(err.Error(), "TLS handshake with 127.0.0.1:") {
				t.Errorf("error %q does not tell where it happened", err)
			}
		})
	}
}

// TestFetchTLSVersion: TLS 1.2 or later (RFC 8461 section 7.2), with the policy host's name in SNI (section 7.1).
func TestFetchTLSVersion(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	for _, c := range []struct {
		why     string
		version uint16
		kind    Kind
	}{
		{"TLS 1.0", tls.VersionTLS10, Unreachable},
		{"TLS 1.1", tls.VersionTLS11, Unreachable},
		{"TLS 1.2", tls.VersionTLS12, 0},
		{"TLS 1.3", tls.VersionTLS13, 0},
	} {
		names := make(chan string, 1)
		p := listen(t, overTLS(&tls.Config{
			MinVersion: tls.VersionTLS10, MaxVersion: c.version,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				names <- hello.ServerName
				return &cert, nil
			},
		}, respond(goodHead+"\r\n"+goodPolicy)))
		policy, err := newTestFetcher(t, p, Config{Roots: ca.pool()}).Fetch(t.Context(), fetchDomain())
		wantFetch(t, c.why, policy, err, c.kind, "protocol version")
		if c.kind == 0 {
			if name := <-names; name != policyHost {
				t.Errorf("%s: SNI %q", c.why, name)
			}
		}
		p.Close()
		p.serving.Wait()
	}
}

// TestFetchNoRoots: without roots the fault is ours, not the policy host's, so that nobody is asked and nobody blamed.
func TestFetchNoRoots(t *testing.T) {
	noLeaks(t)
	for why, pool := range map[string]*x509.CertPool{"none": nil, "an empty pool": x509.NewCertPool()} {
		dns := &addressDNS{t: t, host: "no question is expected"}
		policy, err := New(dns, Config{Roots: pool}).Fetch(t.Context(), fetchDomain())
		wantFetch(t, why, policy, err, HostFault, ErrNoRoots.Error())
	}
}
