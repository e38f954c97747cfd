package rivals

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// situation is a row of README.md's comparison.
type situation struct {
	what  string
	cells [3]string // of stsmapd, postfix-mta-sts-resolver and postfix-tlspol
	try   func(*testing.T, *world.World, daemon) string
}

func situations() []situation {
	return []situation{
		{"a policy, after a restart while DNS and policy host are away", [3]string{"kept", "kept", "kept"},
			func(t *testing.T, w *world.World, d daemon) string { return kept(t, w, d, (*running).stop) }},
		{"a policy, after `kill -9` right behind the first answer", [3]string{"kept", "kept", "lost"},
			func(t *testing.T, w *world.World, d daemon) string { return kept(t, w, d, (*running).kill) }},
		{"an enforced policy and usable TLSA records", [3]string{"`dane-only`", "`secure`", "`dane-only`"}, withDANE},
		{"the next hop `[mail.example.com]:587`", [3]string{"its policy", "its policy", "no policy"}, smartHost},
		{"DNS failure for an unknown domain", [3]string{"delivered; with `defer` waits", "delivered", "waits"},
			failure},
		{"fetches for 50 questions at once about a new domain", [3]string{"one", "several", "one"}, atOnce},
		{"a policy host with a loopback address", [3]string{"refused", "asked", "asked"}, loopback},
	}
}

// TestComparison: README.md says what each daemon does.
func TestComparison(t *testing.T) {
	if os.Getenv(envRivals) == "" {
		testkit.AllOnly(t, "what README.md says of stsmapd beside other daemons")
	}
	w := world.Open(t)
	readme, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range situations() {
		row := fmt.Sprintf("| %s | %s |", s.what, strings.Join(s.cells[:], " | "))
		if !strings.Contains(string(readme), row) {
			t.Errorf("README.md has no row %s", row)
		}
		for i, d := range daemons(t, w) {
			t.Run(s.what+"/"+d.name, func(t *testing.T) {
				if got := s.try(t, w, d); got != s.cells[i] {
					t.Errorf("%s: %s; README.md says: %s", d.name, got, s.cells[i])
				}
			})
		}
	}
}

// in returns what of the answer matters.
func in(reply string) string {
	switch {
	case strings.HasPrefix(reply, "OK secure "), strings.HasPrefix(reply, "OK dane"):
		return "`" + strings.Fields(reply)[1] + "`"
	case reply == "NOTFOUND":
		return "no policy"
	case strings.HasPrefix(reply, "TEMP"):
		return "waits"
	}
	return reply
}

// kept ends a daemon that has answered, and asks it again when nothing else can say what the policy is.
func kept(t *testing.T, w *world.World, d daemon, end func(*running)) string {
	domain, dir := w.Domain("kept"), t.TempDir()
	domain.AddEnforcedMX(t)
	r := d.start(t, w, dir, w.Resolver())
	if first := in(r.ask(d.mapName, domain.Name)); first != "`secure`" {
		return "at first: " + first
	}
	end(r)
	domain.Die()
	if again := in(d.start(t, w, dir, w.Resolver()).ask(d.mapName, domain.Name)); again != "`secure`" {
		return "lost"
	}
	return "kept"
}

// withDANE asks where Postfix does DANE.
func withDANE(t *testing.T, w *world.World, d daemon) string {
	domain := w.SignedDomain(t, "dane")
	mx := domain.AddEnforcedMX(t)
	cert, err := x509.ParseCertificate(mx.Certificate().Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("_25._tcp.%s", mx.Name)
	rr := &dns.TLSA{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTLSA, Class: dns.ClassINET, Ttl: 300}}
	if err := rr.Sign(3, 1, 1, cert); err != nil {
		t.Fatal(err)
	}
	w.DNS.Set(name, dns.TypeTLSA, rr.String())
	return in(d.start(t, w, t.TempDir(), w.Validator(t).Addr).ask(d.dane, domain.Name))
}

// smartHost asks as Postfix does for a relay host, which publishes a policy.
func smartHost(t *testing.T, w *world.World, d daemon) string {
	domain := w.Domain("relay")
	domain.AddEnforcedMX(t)
	got := in(d.start(t, w, t.TempDir(), w.Resolver()).ask(d.mapName, "["+domain.Name+"]:587"))
	return strings.Replace(got, "`secure`", "its policy", 1)
}

// failure asks for a domain of which nothing is known, while the DNS fails.
func failure(t *testing.T, w *world.World, d daemon) string {
	domain := w.Domain("failing")
	domain.AddEnforcedMX(t)
	domain.BreakDNS(dnstest.ServFail)
	r := d.start(t, w, t.TempDir(), w.Resolver())
	got := strings.Replace(in(r.ask(d.mapName, domain.Name)), "no policy", "delivered", 1)
	if d.name == "stsmapd" {
		got += "; with `defer` " + in(r.ask("sts+defer", domain.Name))
	}
	return got
}

// atOnce counts the fetches for many questions about a domain that nobody has asked for.
func atOnce(t *testing.T, w *world.World, d daemon) string {
	const questions = 50
	domain := w.Domain("new")
	domain.AddEnforcedMX(t)
	r := d.start(t, w, t.TempDir(), w.Resolver())
	var wait sync.WaitGroup
	for range questions {
		wait.Go(func() {
			if got := in(r.ask(d.mapName, domain.Name)); got != "`secure`" {
				t.Errorf("%s: %s", d.name, got)
			}
		})
	}
	wait.Wait()
	if n := domain.Policy.Requests(); n != 1 {
		t.Logf("%s fetches %d times", d.name, n)
		return "several"
	}
	return "one"
}

// loopback asks with the daemon's own setting of which addresses a policy host may have.
func loopback(t *testing.T, w *world.World, d daemon) string {
	settings := d.command
	d.command = func(at netip.AddrPort, dir string, resolver netip.Addr) (*exec.Cmd, string) {
		cmd, config := settings(at, dir, resolver)
		return cmd, strings.Replace(config, "allow_private_addresses = true\n", "", 1)
	}
	domain := w.Domain("loopback")
	domain.AddEnforcedMX(t)
	d.start(t, w, t.TempDir(), w.Resolver()).ask(d.mapName, domain.Name)
	if domain.Policy.Connections() == 0 {
		return "refused"
	}
	return "asked"
}
