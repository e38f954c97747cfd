package internet

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// PolicyHost is the HTTPS server of all domains with a policy.
type PolicyHost struct {
	server *http.Server
	ended  chan struct{}
}

// StartPolicyHost starts a PolicyHost with certificates of this authority.
func StartPolicyHost(ca *world.CA) (*PolicyHost, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(policyHostAddress, "443"))
	if err != nil {
		return nil, err
	}
	p := &PolicyHost{ended: make(chan struct{})}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(servePolicy),
		ErrorLog:          log.New(io.Discard, "", 0), // of connections that a daemon's end cuts
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := ca.Issue(hello.ServerName)
			return &cert, err
		}},
	}
	go func() {
		defer close(p.ended)
		if err := p.server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // its socket was lost
		}
	}()
	return p, nil
}

// Close stops the PolicyHost and waits for its end.
func (p *PolicyHost) Close() {
	p.server.Close()
	<-p.ended
}

// servePolicy serves the policy of the domain that the Host header names. For the zone Far it delays the answer.
func servePolicy(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.Host, "mta-sts.")
	zone, n, known := parseDomain(name)
	if !known || !hasPolicy(zone, n) || r.URL.Path != "/.well-known/mta-sts.txt" {
		http.NotFound(w, r)
		return
	}
	if zone == Far {
		timer := time.NewTimer(distance)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, PolicyText(name))
}
