package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/packaging/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// publishers are the DNS and the policy hosts of the domains d0.<zone>, d1.<zone> and so on, as many as a test wants: one
// server of each kind for all of them, and a switch that ends both. A domain's policies have numbers, from 1 on; the MX of
// the n-th is gn.mx.<domain>, so that an answer tells which it is.
type publishers struct {
	Resolver netip.Addr // the DNS server's, on port 53
	zone     string
	host     netip.Addr // of all policy hosts
	ca       *world.CA
	dead     atomic.Bool // the DNS is silent, and policy hosts hang up

	mu           sync.Mutex
	published    map[string]publication   // by domain
	certificates map[int]*tls.Certificate // by block of domains
}

type publication struct{ id, policy int }

// certificateBlock is how many domains share a policy host's certificate, for making one takes a while.
const certificateBlock = 32

func newPublishers(t *testing.T, w *world.World) *publishers {
	t.Helper()
	p := &publishers{
		Resolver: w.Host(), zone: w.Domain("crowd").Name, host: w.Host(), ca: w.CA,
		published: map[string]publication{}, certificates: map[int]*tls.Certificate{},
	}
	server := dnstest.New(t, dnstest.Config{Addr: netip.AddrPortFrom(p.Resolver, 53).String()})
	server.On("*", dns.TypeANY, p.resolve)
	listener, err := net.Listen("tcp", netip.AddrPortFrom(p.host, 443).String())
	if err != nil {
		t.Fatal(err)
	}
	https := &http.Server{
		Handler:   p,
		ErrorLog:  log.New(io.Discard, "", 0), // a daemon that is killed ends handshakes
		TLSConfig: &tls.Config{GetCertificate: p.certificate},
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = https.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = https.Close(); <-served })
	return p
}

// domain is the name of the i-th domain.
func (p *publishers) domain(i int) string { return fmt.Sprintf("d%d.%s", i, p.zone) }

// publish puts the domain's policy of that number under an id.
func (p *publishers) publish(domain string, id, policy int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published[domain] = publication{id, policy}
}

func (p *publishers) of(domain string) (publication, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.published[domain]
	return found, ok
}

// resolve is the DNS.
func (p *publishers) resolve(q *dnstest.Query) {
	if p.dead.Load() {
		return
	}
	record := ""
	if domain, ok := strings.CutPrefix(q.Name, "_mta-sts."); ok && q.Type == dns.TypeTXT {
		if found, ok := p.of(domain); ok {
			record = fmt.Sprintf("%s. 1 IN TXT \"v=STSv1; id=%d;\"", q.Name, found.id)
		}
	}
	if strings.HasPrefix(q.Name, "mta-sts.") && q.Type == dns.TypeA {
		record = fmt.Sprintf("%s. 300 IN A %v", q.Name, p.host)
	}
	if record == "" {
		q.Send() // the zone is empty
		return
	}
	dnstest.Records(record)(q)
}

// ServeHTTP is the policy hosts.
func (p *publishers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	domain, _ := strings.CutPrefix(r.Host, "mta-sts.")
	found, ok := p.of(domain)
	if p.dead.Load() || !ok {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, policyText(domain, found.policy))
}

func policyText(domain string, policy int) string {
	return world.Text("enforce", fmt.Sprintf("g%d.mx.%s", policy, domain))
}

// certificate makes the certificate for a policy host.
func (p *publishers) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, _ := strings.CutPrefix(hello.ServerName, "mta-sts.d")
	number, _, _ := strings.Cut(name, ".")
	i, err := strconv.Atoi(number)
	if err != nil || p.dead.Load() {
		return nil, fmt.Errorf("no policy host %s", hello.ServerName)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	block := i / certificateBlock
	if p.certificates[block] == nil {
		names := make([]string, certificateBlock)
		for j := range names {
			names[j] = "mta-sts." + p.domain(block*certificateBlock+j)
		}
		made, err := p.ca.Issue(names...)
		if err != nil {
			return nil, err
		}
		p.certificates[block] = &made
	}
	return p.certificates[block], nil
}

// policyOf is the number of the domain's policy that an answer names; 0 where it names none.
func policyOf(domain, answer string) int {
	rest, ok := strings.CutPrefix(answer, "OK secure match=g")
	number, after, found := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if !ok || !found || err != nil || after != "mx."+domain+" servername=hostname" {
		return 0
	}
	return n
}

// daemonOf starts a stsmapd that knows no other internet than these publishers.
func (p *publishers) daemonOf(t *testing.T, w *world.World, inet netip.AddrPort, stateDir string) *world.Daemon {
	t.Helper()
	return w.StartDaemon(t, world.DaemonConfig{Inet: inet, StateDir: stateDir, Resolver: p.Resolver})
}
