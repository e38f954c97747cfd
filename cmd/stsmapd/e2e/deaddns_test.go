package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// unprotected is what the log, status and /readyz say of mail while the DNS is dead.
const unprotected = "mail to domains without a live policy is delivered as if they had none"

// deadHost is a daemon whose /etc/resolv.conf is the test's, and the DNS server that it names.
type deadHost struct {
	faultyHost
	m   world.Monitored
	dns *dnstest.Server
	etc string
}

// newDeadHost starts the DNS server, in which the domains have policies.
func newDeadHost(t *testing.T, w *world.World, domains int) *deadHost {
	h := &deadHost{faultyHost: faultyHost{w: w, p: w.Publishers(t)}, etc: world.PublicDir(t)}
	address := w.Host()
	h.dns = dnstest.New(t, dnstest.Config{Addr: netip.AddrPortFrom(address, 53).String()})
	for i := range domains {
		domain := h.p.Domain(i)
		h.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
		h.dns.Add(fmt.Sprintf("_mta-sts.%s. 300 IN TXT \"v=STSv1; id=1;\"\nmta-sts.%[1]s. 300 IN A %s", domain,
			h.p.PolicyHost().Addr()))
	}
	h.write(t, "resolv.conf", fmt.Sprintf("nameserver %s\n", address))
	return h
}

func (h *deadHost) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.etc, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start starts the daemon, with a directory of the test's for /etc.
func (h *deadHost) start(t *testing.T) {
	t.Helper()
	h.control = "unix:" + world.SocketPath(t)
	host := h.w.Host()
	inet := netip.AddrPortFrom(host, 8461)
	h.m.Metrics = netip.AddrPortFrom(host, 9461)
	config := filepath.Join(t.TempDir(), "stsmapd.toml")
	text := fmt.Sprintf("listen = [%q]\nmetrics = %q\nstate_dir = %q\ncontrol = %q\n[dns]\ntimeout = \"1s\"\n"+
		"attempts = 1\n[fetch]\nca_file = %q\nallow_private_addresses = true\n", "inet:"+inet.String(), h.m.Metrics,
		t.TempDir(), h.control, h.w.CAFile)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.d = h.w.StartProcessAfter(t, "mount --bind "+h.etc+" /etc", nil, "serve", "--config", config)
	h.d.Inet, h.m.Daemon = inet, h.d
}

// askAll asks for all domains at a time, and fails the test unless each has this policy; 0: none.
func (h *deadHost) askAll(t *testing.T, domains, want int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range domains {
		all.Go(func() {
			domain := h.p.Domain(i)
			reply, err := h.d.TryAsk("sts", domain)
			if err != nil || want == 0 && reply != "NOTFOUND " || world.PolicyOf(domain, reply) != want {
				t.Errorf("%s is answered %q, %v; want policy %d", domain, reply, err, want)
			}
		})
	}
	all.Wait()
}

// TestDeadDNS asks 20 questions of a daemon that has no DNS. It says once that mail goes unprotected, in the log, in
// status and in /readyz, which stays 200. When the DNS is back, it says that once, and the next questions get the
// policies. The test is not parallel to others: for a host without a resolv.conf, 127.0.0.1 must have no DNS server.
func TestDeadDNS(t *testing.T) {
	const questions = 20
	w := world.Open(t)
	hook := func(fault dnstest.Hook) func(*testing.T, *deadHost) (revive func()) {
		return func(_ *testing.T, h *deadHost) func() {
			h.dns.On("*", dns.TypeANY, fault)
			return func() { h.dns.On("*", dns.TypeANY) }
		}
	}
	for _, c := range []struct {
		name string
		kill func(*testing.T, *deadHost) (revive func())
	}{
		{"silent", hook(dnstest.Drop)},
		{"SERVFAIL for all", hook(dnstest.ServFail)},
		{"no resolv.conf", func(t *testing.T, h *deadHost) func() {
			file := filepath.Join(h.etc, "resolv.conf")
			text, err := os.ReadFile(file)
			if err == nil {
				err = os.Remove(file)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.DNS.On("*", dns.TypeANY, dnstest.Drop)
			t.Cleanup(func() { w.DNS.On("*", dns.TypeANY) })
			return func() { h.write(t, "resolv.conf", string(text)) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newDeadHost(t, w, questions)
			revive := c.kill(t, h)
			h.start(t)
			h.askAll(t, questions, 0)
			if lines := h.d.Log.Lines(unprotected); len(lines) != 1 || len(h.d.Log.Lines("event=host_fault")) != 1 {
				t.Errorf("%d lines say that mail goes unprotected, want 1:\n%s", len(lines), h.d.Log)
			}
			h.status(t, unprotected)
			world.Eventually(t, world.Hang, "/readyz names the dead DNS", func() bool {
				text := h.m.Get(t, "/readyz")
				return strings.Contains(text, "dns_dead: ") && strings.Contains(text, unprotected)
			})
			revive()
			world.Eventually(t, world.Hang, "the end of the outage",
				func() bool { return len(h.d.Log.Lines("event=host_recovered")) > 0 })
			h.askAll(t, questions, 1)
			h.status(t, "")
			world.Eventually(t, world.Hang, "/readyz without a problem",
				func() bool { return h.m.Get(t, "/readyz") == "ok\n" })
			if len(h.d.Log.Lines("event=host_recovered")) != 1 || len(h.d.Log.Lines(unprotected)) != 1 {
				t.Errorf("the outage and its end are not told once each:\n%s", h.d.Log)
			}
		})
	}
}
