package trial

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// loopback is the address of all servers of a trial: Postfix delivers to an address without the DNS.
const loopback = "127.0.0.1"

// host is the name of the mail server in the policy and in its certificate.
const host = "mx." + mailDomain

// servers are a mail server with a port for each message, and one more that takes the place of the fallback relay.
type servers struct {
	ca        []byte // that Postfix is to trust
	listeners [messages + 1]net.Listener
}

// startServers makes certificates and listens on the loopback. Every server speaks STARTTLS and accepts every message.
func startServers() (*servers, error) {
	// What a server has: Postfix may be configured to refuse one of the two.
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	keys := []crypto.Signer{ecKey, rsaKey}
	trusted, err := newAuthority()
	if err != nil {
		return nil, err
	}
	unknown, err := newAuthority()
	if err != nil {
		return nil, err
	}
	s := &servers{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.certificate.Raw})}
	for n := range s.listeners {
		ca, name := trusted, host
		switch message(n) {
		case untrusted:
			ca = unknown
		case misnamed:
			name = "mx.other.invalid"
		}
		certificates, err := ca.issue(name, keys)
		if err == nil {
			s.listeners[n], err = net.Listen("tcp", loopback+":0")
		}
		if err != nil {
			s.close()
			return nil, err
		}
		go serve(s.listeners[n], &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12})
	}
	return s, nil
}

// port returns the port of a message, as it stands behind an address in Postfix's log: "]:2525".
func (s *servers) port(m message) string {
	_, port, _ := strings.Cut(s.listeners[m].Addr().String(), ":")
	return "]:" + port
}

// hop returns the next hop of a message, in Postfix's form.
func (s *servers) hop(m message) string { return "[" + loopback + s.port(m) }

func (s *servers) close() {
	for _, l := range s.listeners {
		if l != nil {
			_ = l.Close()
		}
	}
}

func serve(l net.Listener, config *tls.Config) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go session(conn, config)
	}
}

// session speaks SMTP until the client leaves, for the time of a trial at most.
func session(conn net.Conn, config *tls.Config) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	text := textproto.NewConn(conn)
	greeting := "250-" + host + "\r\n250-8BITMIME\r\n250 STARTTLS"
	err := text.PrintfLine("220 " + host + " ESMTP")
	for err == nil {
		var line string
		if line, err = text.ReadLine(); err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "EHLO":
			err = text.PrintfLine("%s", greeting)
		case "STARTTLS":
			err = text.PrintfLine("220 2.0.0 ready")
			secure := tls.Server(conn, config)
			text, greeting = textproto.NewConn(secure), "250-"+host+"\r\n250 8BITMIME"
		case "DATA":
			err = text.PrintfLine("354 end with a dot")
			_, copied := io.Copy(io.Discard, text.DotReader())
			err = errors.Join(err, copied, text.PrintfLine("250 2.0.0 accepted"))
		case "QUIT":
			_ = text.PrintfLine("221 2.0.0 bye")
			return
		default:
			err = text.PrintfLine("250 2.0.0 ok")
		}
	}
}

// authority is a CA that exists for a trial.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := certificate("stsmapd trial")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	parsed, err := x509.ParseCertificate(der)
	return authority{parsed, key}, err
}

// issue returns a certificate for this name with each of the keys.
func (ca authority) issue(name string, keys []crypto.Signer) ([]tls.Certificate, error) {
	var all []tls.Certificate
	for _, key := range keys {
		template := certificate(name)
		template.DNSNames = []string{name}
		template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
		if err != nil {
			return nil, err
		}
		all = append(all, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	}
	return all, nil
}

func certificate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
}
