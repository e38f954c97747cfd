package fleet

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// internet is many domains whose policy hosts are all at one address.
type internet struct {
	w       *world.World
	suffix  string     // of all its domains
	address netip.Addr // of all its policy hosts

	mu    sync.Mutex
	modes map[string]string // of the policies, by domain; absent: enforce
	dead  map[string]bool   // domains whose policy host answers 500
	gets  map[string]int    // by domain
	total int
}

// ttl is that of TXT records: long, so that no daemon looks again by itself while a test runs.
const ttl = 300

const txt = dns.TypeTXT

// newInternet starts an internet with a number of domains that publish a policy.
func newInternet(t *testing.T, w *world.World, domains int) *internet {
	t.Helper()
	address := w.Host()
	n := &internet{w: w, address: address, suffix: fmt.Sprintf("f%d.test", address.As4()[3]),
		modes: map[string]string{}, dead: map[string]bool{}, gets: map[string]int{}}
	var zone strings.Builder
	for i := range domains {
		fmt.Fprintf(&zone, "_mta-sts.%[1]s. %[2]d IN TXT \"v=STSv1; id=1\"\nmta-sts.%[1]s. %[2]d IN A %[3]s\n",
			n.domain(i), ttl, address)
	}
	w.DNS.Add(zone.String())
	n.serve(t, address)
	return n
}

func (n *internet) domain(i int) string { return fmt.Sprintf("d%d.%s", i, n.suffix) }

// publish changes a domain's policy to another mode, under another id.
func (n *internet) publish(domain, id, mode string) {
	n.set(func() { n.modes[domain] = mode })
	name := "_mta-sts." + domain
	n.w.DNS.Set(name, dns.TypeTXT, fmt.Sprintf("%s. %d IN TXT \"v=STSv1; id=%s\"", name, ttl, id))
}

func (n *internet) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// fetched is how many GETs there were, for one domain or for all ("").
func (n *internet) fetched(domain string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if domain == "" {
		return n.total
	}
	return n.gets[domain]
}

// twice returns the domains that were fetched more than once, as text.
func (n *internet) twice() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for domain, gets := range n.gets {
		if gets > 1 {
			names = append(names, fmt.Sprintf("%s %d times", domain, gets))
		}
	}
	return names
}

func (n *internet) serve(t *testing.T, address netip.Addr) {
	t.Helper()
	server := &http.Server{
		Handler:   http.HandlerFunc(n.policy),
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{GetCertificate: n.certificate},
	}
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, 443).String())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() { server.Close(); <-served })
}

func (n *internet) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := n.w.CA.Issue(hello.ServerName)
	return &cert, err
}

func (n *internet) policy(w http.ResponseWriter, r *http.Request) {
	domain := strings.TrimPrefix(r.Host, "mta-sts.")
	n.mu.Lock()
	n.gets[domain]++
	n.total++
	mode, dead := n.modes[domain], n.dead[domain]
	n.mu.Unlock()
	if dead {
		http.Error(w, "dead", http.StatusInternalServerError)
		return
	}
	if mode == "" {
		mode = "enforce"
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, world.Text(mode, "mx."+domain))
}

// answer returns the answer for a domain in mode enforce.
func answer(domain string) string { return "OK secure match=mx." + domain + " servername=hostname" }
