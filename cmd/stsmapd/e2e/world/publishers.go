package world

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
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// Publishers are the DNS and the policy hosts of any number of domains d0.<zone>, d1.<zone> and so on: one server of
// each kind for all of them, and a switch that ends both. A domain's policies have numbers, from 1 on; the MX of the
// n-th is gn.mx.<domain>, so that an answer shows the number of its policy.
type Publishers struct {
	Resolver netip.Addr    // the DNS server's, on port 53
	Zone     string        // below which the domains are
	Dead     atomic.Bool   // the DNS is silent, and policy hosts hang up
	Delay    atomic.Int64  // how long, in nanoseconds, the DNS takes for an answer
	TTL      atomic.Uint32 // of TXT records, in seconds
	Served   atomic.Int64  // policy files

	host netip.Addr // of all policy hosts

	mu           sync.Mutex
	announced    netip.Addr            // what the DNS says is their address
	elsewhere    map[string]netip.Addr // that of the policy hosts below a name; nil: none
	dns          *dnstest.Server       // nil: away
	ca           *CA
	published    map[string]*publisher    // by domain
	certificates map[int]*tls.Certificate // by block of domains
}

// Publication is what a domain publishes.
type Publication struct {
	ID     int           // of the TXT record
	Policy int           // number of the policy
	Mode   string        // of the policy; "": enforce
	MaxAge time.Duration // of the policy; 0: a week
	Length int           // of a line without a meaning, to make the policy longer
}

// publisher is a domain with all that it published.
type publisher struct {
	now    Publication
	issues map[int]Issue // by number of the policy
}

// Issue is a policy that was published, and when its file was served.
type Issue struct {
	Publication
	First, Last time.Time // zero: never
}

// certificateBlock is how many domains share a policy host's certificate, because making one takes a while.
const certificateBlock = 32

// Publishers starts the servers of many domains. They end with the test.
func (w *World) Publishers(t testing.TB) *Publishers {
	t.Helper()
	p := &Publishers{
		Resolver: w.Host(), Zone: w.Domain("crowd").Name, host: w.Host(), ca: w.CA,
		published: map[string]*publisher{}, certificates: map[int]*tls.Certificate{},
	}
	p.announced = p.host
	p.TTL.Store(1)
	p.StartDNS(t)
	t.Cleanup(func() { p.StopDNS(t) })
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

// PolicyHost returns where all policy hosts listen, whatever the DNS says.
func (p *Publishers) PolicyHost() netip.AddrPort { return netip.AddrPortFrom(p.host, 443) }

// Announce makes this the address of all policy hosts in the DNS.
func (p *Publishers) Announce(address netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.announced = address
}

// AnnounceBelow makes this the address of the policy hosts of all domains below a name, which is not Zone.
func (p *Publishers) AnnounceBelow(name string, address netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.elsewhere == nil {
		p.elsewhere = map[string]netip.Addr{}
	}
	p.elsewhere[name] = address
}

// address returns the address of a policy host.
func (p *Publishers) address(host string) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, domain, _ := strings.Cut(host, ".") // without mta-sts
	if _, below, ok := strings.Cut(domain, "."); ok {
		if a, ok := p.elsewhere[below]; ok {
			return a
		}
	}
	return p.announced
}

// StartDNS starts the DNS server, also after StopDNS.
func (p *Publishers) StartDNS(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	server, err := dnstest.Start(dnstest.Config{Addr: netip.AddrPortFrom(p.Resolver, 53).String()})
	if err != nil {
		t.Fatal(err)
	}
	server.On("*", dns.TypeANY, p.resolve)
	p.dns = server
}

// StopDNS stops the DNS server, so that its port refuses queries.
func (p *Publishers) StopDNS(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	server := p.dns
	p.dns = nil
	p.mu.Unlock()
	if server == nil {
		return
	}
	if err := server.Close(); err != nil { // it waits for resolve, which takes the lock
		t.Error(err)
	}
}

// ForgetQuestions frees memory: the DNS server records every name that it is asked for.
func (p *Publishers) ForgetQuestions() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dns != nil {
		p.dns.Reset()
	}
}

// SetCA makes another CA issue the policy hosts' certificates from now on.
func (p *Publishers) SetCA(ca *CA) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ca = ca
	clear(p.certificates)
}

// Domain returns the name of the i-th domain.
func (p *Publishers) Domain(i int) string { return fmt.Sprintf("d%d.%s", i, p.Zone) }

// Publish sets what a domain publishes. A number must always stand for the same policy.
func (p *Publishers) Publish(domain string, pub Publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.published[domain]
	if d == nil {
		d = &publisher{issues: map[int]Issue{}}
		p.published[domain] = d
	}
	d.now = pub
	issue := d.issues[pub.Policy]
	issue.Publication = pub
	d.issues[pub.Policy] = issue
}

// Withdraw makes a domain publish nothing, and forgets all that it published.
func (p *Publishers) Withdraw(domain string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.published, domain)
}

// Of returns what a domain publishes; false if nothing.
func (p *Publishers) Of(domain string) (Publication, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.published[domain]
	if d == nil {
		return Publication{}, false
	}
	return d.now, true
}

// Issues returns the domain's policies from this number on.
func (p *Publishers) Issues(domain string, from int) []Issue {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.published[domain]
	if d == nil {
		return nil
	}
	var found []Issue
	for i := from; i <= d.now.Policy; i++ {
		if issue, ok := d.issues[i]; ok {
			found = append(found, issue)
		}
	}
	return found
}

// resolve answers a DNS query.
func (p *Publishers) resolve(q *dnstest.Query) {
	if p.Dead.Load() {
		return
	}
	record := ""
	if domain, ok := strings.CutPrefix(q.Name, "_mta-sts."); ok && q.Type == dns.TypeTXT {
		if found, ok := p.Of(domain); ok {
			record = fmt.Sprintf("%s. %d IN TXT \"v=STSv1; id=%d;\"", q.Name, p.TTL.Load(), found.ID)
		}
	}
	if strings.HasPrefix(q.Name, "_smtp._tls.") && q.Type == dns.TypeTXT {
		record = q.Name + ". 300 IN TXT \"v=TLSRPTv1; rua=mailto:tls@report.test\""
	}
	if strings.HasPrefix(q.Name, "mta-sts.") && q.Type == dns.TypeA {
		record = fmt.Sprintf("%s. 300 IN A %v", q.Name, p.address(q.Name))
	}
	answer := dnstest.Answer // the zone is empty
	if record != "" {
		answer = dnstest.Records(record)
	}
	if delay := time.Duration(p.Delay.Load()); delay > 0 {
		answer = dnstest.After(delay, answer)
	}
	answer(q)
}

// ServeHTTP implements http.Handler for all policy hosts.
func (p *Publishers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	domain, _ := strings.CutPrefix(r.Host, "mta-sts.")
	if p.Dead.Load() {
		panic(http.ErrAbortHandler)
	}
	found, ok := p.serve(domain)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, found.Text(domain))
}

// serve returns what a domain publishes, and notes that it is served now.
func (p *Publishers) serve(domain string) (Publication, bool) {
	p.Served.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.published[domain]
	if d == nil {
		return Publication{}, false
	}
	issue := d.issues[d.now.Policy]
	issue.Last = time.Now()
	if issue.First.IsZero() {
		issue.First = issue.Last
	}
	d.issues[d.now.Policy] = issue
	return d.now, true
}

// Lifetime returns the policy's max_age.
func (pub Publication) Lifetime() time.Duration {
	if pub.MaxAge == 0 {
		return 7 * 24 * time.Hour
	}
	return pub.MaxAge
}

// Text returns the policy file.
func (pub Publication) Text(domain string) string {
	mode := pub.Mode
	if mode == "" {
		mode = "enforce"
	}
	text := fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: g%d.mx.%s\r\nmax_age: %.0f\r\n",
		mode, pub.Policy, domain, pub.Lifetime().Seconds())
	if pub.Length > 0 {
		text += "x: " + strings.Repeat("y", pub.Length) + "\r\n"
	}
	return text
}

// certificate makes the certificate for a policy host.
func (p *Publishers) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, _ := strings.CutPrefix(hello.ServerName, "mta-sts.d")
	number, _, _ := strings.Cut(name, ".")
	i, err := strconv.Atoi(number)
	if err != nil || p.Dead.Load() {
		return nil, fmt.Errorf("no policy host %s", hello.ServerName)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	block := i / certificateBlock
	if p.certificates[block] == nil {
		names := make([]string, certificateBlock)
		for j := range names {
			names[j] = "mta-sts." + p.Domain(block*certificateBlock+j)
		}
		made, err := p.ca.Issue(names...)
		if err != nil {
			return nil, err
		}
		p.certificates[block] = &made
	}
	return p.certificates[block], nil
}

// PolicyOf returns the number of the domain's policy that an answer names; 0 if it names none.
func PolicyOf(domain, answer string) int {
	rest, ok := strings.CutPrefix(answer, "OK secure match=g")
	number, after, found := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if !ok || !found || err != nil || after != "mx."+domain+" servername=hostname" {
		return 0
	}
	return n
}

// DaemonOf starts a stsmapd that asks the DNS server of these publishers.
func (w *World) DaemonOf(t testing.TB, p *Publishers, inet netip.AddrPort, stateDir string) *Daemon {
	t.Helper()
	return w.StartDaemon(t, DaemonConfig{Inet: inet, StateDir: stateDir, Resolver: p.Resolver})
}
