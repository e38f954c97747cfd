package world

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
)

// PolicyHost is an HTTPS server on port 443 of an address of its own. A new PolicyHost has a valid certificate for its
// name and no policy: it answers 404.
type PolicyHost struct {
	Name string
	Addr netip.Addr

	server      *http.Server
	handler     atomic.Pointer[http.HandlerFunc]
	certificate atomic.Pointer[tls.Certificate]
	requests    atomic.Int64
	connections atomic.Int64
	mute        atomic.Bool
	done        context.Context // ends with the test
}

// PolicyHost starts a policy host and adds its address to the DNS. It ends with the test.
func (w *World) PolicyHost(t testing.TB, name string) *PolicyHost {
	t.Helper()
	done, end := context.WithCancel(context.Background())
	p := &PolicyHost{Name: name, Addr: w.Host(), done: done}
	p.SetCertificate(Certificate(t)(w.CA.Issue(name)))
	p.Handle(http.NotFound)
	p.server = &http.Server{
		Handler:   p,
		ConnState: p.note,
		ErrorLog:  log.New(io.Discard, "", 0), // tests make handshakes fail
		TLSConfig: &tls.Config{GetCertificate: p.choose, NextProtos: []string{"h2", "http/1.1"}},
	}
	listener, err := net.Listen("tcp", netip.AddrPortFrom(p.Addr, 443).String())
	if err != nil {
		t.Fatalf("policy host %s: %v", name, err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p.server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() {
		end()
		p.Refuse()
		<-served
	})
	w.setAddress(name, p.Addr)
	return p
}

// Handle sets the handler of all further requests.
func (p *PolicyHost) Handle(h http.HandlerFunc) { p.handler.Store(&h) }

// Serve makes the host serve this text as its policy file.
func (p *PolicyHost) Serve(policy string) {
	p.Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, policy)
	})
}

// SetCertificate gives the host another certificate.
func (p *PolicyHost) SetCertificate(cert tls.Certificate) { p.certificate.Store(&cert) }

// Refuse closes all connections and the port. It cannot be undone.
func (p *PolicyHost) Refuse() { _ = p.server.Close() }

// Mute makes the host accept connections and send nothing.
func (p *PolicyHost) Mute() { p.mute.Store(true) }

// Requests returns how many requests arrived.
func (p *PolicyHost) Requests() int { return int(p.requests.Load()) }

// Connections returns how many connections arrived, with or without a request.
func (p *PolicyHost) Connections() int { return int(p.connections.Load()) }

// Done returns a channel that is closed at the end of the test, for handlers that hang.
func (p *PolicyHost) Done() <-chan struct{} { return p.done.Done() }

// ServeHTTP implements http.Handler.
func (p *PolicyHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	(*p.handler.Load())(w, r)
}

// choose returns the certificate to a client that asks for the host's name, and an error to any other.
func (p *PolicyHost) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.mute.Load() {
		<-p.done.Done()
	}
	if hello.ServerName != p.Name {
		return nil, fmt.Errorf("no certificate for SNI %q", hello.ServerName)
	}
	return p.certificate.Load(), nil
}

func (p *PolicyHost) note(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		p.connections.Add(1)
	}
}
