package world

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"
)

// MXHost is a mail server on an address of its own. It accepts any mail and records what each connection carries.
type MXHost struct {
	Name string
	Addr netip.AddrPort

	requireTLS  bool // announces REQUIRETLS
	certificate atomic.Pointer[tls.Certificate]
	mu          sync.Mutex
	wires       []*wire // all connections
	cut         bool    // no more connections
	messages    []Message
}

// Message is a mail that an MX host accepted.
type Message struct {
	From, To   string
	TLS        bool   // it came through TLS
	SNI        string // the server name that the client asked for
	RequireTLS bool   // it asked for REQUIRETLS
}

// MXHost starts a mail server with STARTTLS and a valid certificate for its name, and adds its address to the DNS. It
// ends with the test.
func (w *World) MXHost(t testing.TB, name string, port uint16) *MXHost {
	t.Helper()
	mx := &MXHost{Name: name}
	w.startTLSMX(t, mx, port)
	return mx
}

// RequireTLSMXHost is MXHost for a mail server that announces REQUIRETLS (RFC 8689).
func (w *World) RequireTLSMXHost(t testing.TB, name string, port uint16) *MXHost {
	t.Helper()
	mx := &MXHost{Name: name, requireTLS: true}
	w.startTLSMX(t, mx, port)
	return mx
}

func (w *World) startTLSMX(t testing.TB, mx *MXHost, port uint16) {
	t.Helper()
	mx.SetCertificate(Certificate(t)(w.CA.Issue(mx.Name)))
	w.startMX(t, mx, port, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return mx.certificate.Load(), nil
	}})
}

// PlainMXHost starts a mail server without STARTTLS, and adds its address to the DNS. It ends with the test.
func (w *World) PlainMXHost(t testing.TB, name string, port uint16) *MXHost {
	t.Helper()
	mx := &MXHost{Name: name}
	w.startMX(t, mx, port, nil)
	return mx
}

func (w *World) startMX(t testing.TB, mx *MXHost, port uint16, config *tls.Config) {
	t.Helper()
	mx.Addr = netip.AddrPortFrom(w.Host(), port)
	listener, err := net.Listen("tcp", mx.Addr.String())
	if err != nil {
		t.Fatalf("MX host %s: %v", mx.Name, err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &mailSession{host: mx, conn: c}, nil
	}))
	server.Domain = mx.Name
	server.EnableSMTPUTF8 = true // without it, no mail for a domain with U-labels
	server.EnableREQUIRETLS = mx.requireTLS
	server.TLSConfig = config
	server.ErrorLog = log.New(io.Discard, "", 0) // tests make handshakes fail
	tap := &tap{Listener: listener, host: mx}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(tap)
	}()
	t.Cleanup(func() {
		tap.closeAll() // not server.Close, which races with a running STARTTLS
		ctx, cancel := context.WithTimeout(context.Background(), Hang)
		defer cancel()
		if err := server.Shutdown(ctx); ctx.Err() != nil {
			t.Errorf("MX host %s does not end: %v", mx.Name, err)
		}
		<-served
	})
	w.setAddress(mx.Name, mx.Addr.Addr())
}

// SetCertificate gives the host another certificate.
func (mx *MXHost) SetCertificate(cert tls.Certificate) { mx.certificate.Store(&cert) }

// Certificate returns the certificate that the host has now.
func (mx *MXHost) Certificate() tls.Certificate { return *mx.certificate.Load() }

// HasCertificate reports whether the host offers STARTTLS at all.
func (mx *MXHost) HasCertificate() bool { return mx.certificate.Load() != nil }

// Messages returns the mails accepted so far.
func (mx *MXHost) Messages() []Message {
	mx.mu.Lock()
	defer mx.mu.Unlock()
	return append([]Message(nil), mx.messages...)
}

// Saw counts the connections so far that carried this text unencrypted, in upper or lower case.
func (mx *MXHost) Saw(text string) int {
	mx.mu.Lock()
	defer mx.mu.Unlock()
	n := 0
	for _, w := range mx.wires {
		if w.carried(text) {
			n++
		}
	}
	return n
}

// mailSession is one SMTP session. After STARTTLS another one begins in the same connection.
type mailSession struct {
	host       *MXHost
	conn       *smtp.Conn
	from       string
	requireTLS bool
	to         []string
}

func (s *mailSession) Mail(from string, o *smtp.MailOptions) error {
	s.from, s.requireTLS = from, o != nil && o.RequireTLS
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = append(s.to, to); return nil }

func (s *mailSession) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	state, encrypted := s.conn.TLSConnectionState()
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	for _, to := range s.to {
		s.host.messages = append(s.host.messages, Message{From: s.from, To: to, TLS: encrypted, SNI: state.ServerName,
			RequireTLS: s.requireTLS})
	}
	return nil
}

func (s *mailSession) Reset() { s.from, s.to = "", nil }

func (s *mailSession) Logout() error { return nil }

// tap is a listener that records what its connections carry.
type tap struct {
	net.Listener
	host *MXHost
}

func (l *tap) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn}
	l.host.mu.Lock()
	defer l.host.mu.Unlock()
	l.host.wires = append(l.host.wires, w)
	if l.host.cut {
		_ = conn.Close()
	}
	return w, nil
}

// closeAll closes the listener and all connections, including one that was just accepted.
func (l *tap) closeAll() {
	_ = l.Close()
	l.host.mu.Lock()
	defer l.host.mu.Unlock()
	l.host.cut = true
	for _, w := range l.host.wires {
		_ = w.Close()
	}
}

// wireMost bounds how many bytes of a connection are recorded; no test sends as many.
const wireMost = 1 << 20

// wire is a connection that records all bytes that the client sent, as they were on the wire.
type wire struct {
	net.Conn
	mu   sync.Mutex
	kept []byte
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.kept)+n > wireMost {
		return n, errors.New("more than a test connection carries")
	}
	w.kept = append(w.kept, p[:n]...)
	return n, err
}

func (w *wire) carried(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(bytes.ToUpper(w.kept), bytes.ToUpper([]byte(text)))
}
