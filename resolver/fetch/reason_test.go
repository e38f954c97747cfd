package fetch

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestReasons: what a publisher reads is true, says whose trouble it is, and is the same for each fetch that fails
// alike: no address, port, name or time.
func TestReasons(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	good := sign(t, leaf(t, policyHost), ca).chain()
	between := sign(t, &x509.Certificate{SerialNumber: serial(t), Subject: pkix.Name{CommonName: "between"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour)}, ca)
	expired := leaf(t, policyHost)
	expired.NotAfter = time.Now().Add(-time.Minute)
	with := func(cert tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	answer := func(head string) func(net.Conn) { return overTLS(with(good), respond(head)) }
	h2 := with(good)
	h2.NextProtos = []string{"h2-of-another-server"} // Go itself lets "h2" pass
	for _, c := range []struct {
		why    string
		serve  func(net.Conn)
		kind   Kind
		reason string
	}{
		{"only TLS 1.1", overTLS(&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS11}, nil), Unreachable, "the policy host speaks only TLS versions before 1.2"},
		{"only RSA key exchange", overTLS(rsaOnly(t, ca), nil), Unreachable,
			"the policy host refuses the TLS handshake (handshake failure): it may have only RSA key exchange " +
				"or old ciphers"},
		{"an alert for the name", overTLS(&tls.Config{GetCertificate: noCertificate}, nil), Unreachable,
			"the policy host refuses the TLS handshake: "},
		{"only HTTP/2, by ALPN", overTLS(h2, nil), Unreachable, "the policy host speaks only HTTP/2"},
		{"only HTTP/2, without ALPN", overTLS(with(good), respond("\x00\x00\x12\x04\x00\x00\x00\x00\x00")), Unreachable,
			"the policy host speaks only HTTP/2"},
		{"no TLS", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); drained(c) }, Unreachable,
			"the policy host does not speak TLS"},
		{"closed at once", func(net.Conn) {}, Unreachable,
			"the policy host closed the connection during the TLS handshake"},
		{"closed before the answer", overTLS(with(good), func(c *tls.Conn) { c.NetConn().Close() }), Unreachable,
			"the policy host closed the connection before its answer was complete"},
		{"no HTTP", answer("220 mail.example.test ESMTP\r\n\r\n"), Unreachable, "the policy host's answer is not HTTP"},
		{"expired", overTLS(with(sign(t, expired, ca).chain()), nil), Certificate,
			"the policy host's certificate has expired or is not valid yet"},
		{"another name", overTLS(with(sign(t, leaf(t, "www.example.test"), ca).chain()), nil), Certificate,
			"the policy host's certificate is for another name"},
		{"self-signed", overTLS(with(sign(t, &x509.Certificate{SerialNumber: serial(t), DNSNames: []string{policyHost},
			Subject: pkix.Name{CommonName: policyHost}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour)}, nil).chain()), nil), Certificate,
			"the policy host's certificate is from an unknown authority"},
		{"without its intermediate", overTLS(with(sign(t, leaf(t, policyHost), between).chain()), nil), Certificate,
			"the policy host's certificate is from an unknown authority, or the policy host does not send an " +
				"intermediate certificate"},
		{"a redirect", answer("HTTP/1.1 301 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), Refused,
			"HTTP status 301, not 200 (RFC 8461 section 3.3 forbids to follow redirects)"},
		{"a status", answer("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"), Refused, "HTTP status 503, not 200"},
		{"a type", answer("HTTP/1.1 200 x\r\nContent-Type: text/html\r\n\r\n"), MediaType,
			`media type "text/html", not text/plain`},
		{"an encoding", answer(goodHead + "Content-Encoding: gzip\r\n\r\n"), MediaType,
			`content encoding "gzip", though identity was asked for`},
		{"a policy", answer(goodHead + "\r\nversion: STSv2\n"), Invalid, `line 1: version is "STSv2", not STSv1`},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			f := newTestFetcher(t, listen(t, c.serve), Config{Roots: ca.pool(), Timeout: testkit.Hang})
			_, err := f.Fetch(t.Context(), fetchDomain())
			wantReason(t, err, c.kind, c.reason)
		})
	}
}

func wantReason(t *testing.T, err error, kind Kind, reason string) {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != kind {
		t.Fatalf("%v, want kind %v", err, kind)
	}
	if got := failed.Reason(); got != reason && (!strings.HasSuffix(reason, ": ") || !strings.HasPrefix(got, reason)) {
		t.Errorf("reason %q, want %q; the error is %v", got, reason, err)
	}
}

// rsaOnly is a server without ephemeral keys.
func rsaOnly(t *testing.T, ca *testCA) *tls.Config {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := leaf(t, policyHost)
	template.KeyUsage |= x509.KeyUsageKeyEncipherment
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}
}

func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("no such name")
}

// TestReasonsWithoutConnection: the DNS, this host's filter, TCP and a proxy.
func TestReasonsWithoutConnection(t *testing.T) {
	noLeaks(t)
	closed := listen(t, func(net.Conn) {})
	closed.Close()
	for _, c := range []struct {
		why    string
		dns    said
		fail   error // of the lookup
		reason string
		check  string // whose trouble it is
	}{
		{"no address", said{}, nil, "the policy host has no address in the DNS", "publisher must repair it"},
		{"SERVFAIL", said{}, &dnsclient.Error{Kind: dnsclient.ServerFailure, Server: "192.0.2.53:53"},
			"the addresses of the policy host cannot be looked up: server failure",
			"in its DNS, unless lookups fail here for other domains too"},
		{"an address that is not public", said{addrs: []string{"10.0.0.1"}}, nil,
			"the policy host's addresses are not public", "list its prefix in fetch.allow_private_addresses"},
		{"connection refused", said{addrs: []string{publicIPv4}}, nil,
			"the policy host cannot be reached: connection refused", "unless this network lets no HTTPS pass to it"},
	} {
		f := newTestFetcher(t, closed, Config{Roots: newCA(t).pool()})
		f.dialer.dns = &addressDNS{t: t, host: policyHost, v4: c.dns, fail: c.fail}
		_, err := f.Fetch(t.Context(), fetchDomain())
		wantReason(t, err, Unreachable, c.reason)
		var failed *Error
		if errors.As(err, &failed) && !strings.HasSuffix(failed.Check(), c.check) {
			t.Errorf("%s: %q, want %q", c.why, failed.Check(), c.check)
		}
		if strings.Contains(err.Error(), "no address in the DNS") != (c.why == "no address") {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	if got := (&Error{Kind: HostFault, Err: ErrNoRoots}).Reason(); got != "" {
		t.Errorf("a fault of this host is told the publisher: %q", got)
	}
}
