package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/socketmap"
)

// faultyHost is a daemon on a host that lacks something. The DNS and the policy hosts are well.
type faultyHost struct {
	w       *world.World
	p       *world.Publishers
	d       *world.Daemon
	c       *world.Collector
	control string
	next    int
}

// start starts the daemon after a shell's command, with this environment besides and this ca_file.
func (h *faultyHost) start(t *testing.T, command, caFile string, env ...string) {
	t.Helper()
	h.control = "unix:" + world.SocketPath(t)
	h.c = world.NewCollector(t, world.SocketPath(t))
	inet := netip.AddrPortFrom(h.w.Host(), 8461)
	config := filepath.Join(t.TempDir(), "stsmapd.toml")
	text := fmt.Sprintf("listen = [%q]\nstate_dir = %q\ncontrol = %q\ntlsrpt_socket = %q\n[dns]\nservers = "+
		"[%q]\n[fetch]\nca_file = %q\n"+
		"allow_private_addresses = true\n", "inet:"+inet.String(), t.TempDir(), h.control, h.c.Path, h.p.Resolver,
		caFile)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.d = h.w.StartProcessAfter(t, command, append(os.Environ(), env...), "serve", "--config", config, "--log-level",
		"debug")
	h.d.Inet = inet
}

// fresh is a new domain with an enforced policy.
func (h *faultyHost) fresh() string {
	h.next++
	domain := h.p.Domain(h.next)
	h.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
	return domain
}

// policy asks for a domain and returns the number of the policy that is answered; 0: none.
func (h *faultyHost) policy(t *testing.T, domain string) int {
	t.Helper()
	return world.PolicyOf(domain, h.d.Ask(t, "sts", domain))
}

// blamed fails the test if the daemon blames a domain for the fault of its host.
func (h *faultyHost) blamed(t *testing.T, domains ...string) {
	t.Helper()
	for _, event := range []string{"event=fetch_failed", "event=refresh_failing", "event=lookup_failed"} {
		if lines := h.d.Log.Lines(event); len(lines) > 0 {
			t.Errorf("a domain is blamed for a fault of this host: %s", lines[0])
		}
	}
	for _, domain := range domains {
		if got := h.c.SoFar(domain); len(got) > 0 {
			t.Errorf("a fault of this host was reported to %s: %+v", domain, got)
		}
	}
}

// status fails the test unless `stsmapd status` shows a problem with this text; "": no problem.
func (h *faultyHost) status(t *testing.T, problem string) {
	t.Helper()
	r := h.w.Command(t, nil, "status", "--control", h.control)
	text := strings.Join(strings.Fields(r.Stdout), " ")
	switch {
	case problem == "" && (r.Code != 0 || strings.Contains(text, "problem")):
		t.Errorf("stsmapd status after the end of the fault: exit code %d\n%s", r.Code, r.Stdout)
	case problem != "" && (r.Code != 1 || !strings.Contains(text, problem)):
		t.Errorf("stsmapd status does not say %q: exit code %d\n%s%s", problem, r.Code, r.Stdout, r.Stderr)
	}
}

// hostFault is something that this host lacks. Mail is delivered meanwhile, as RFC 8461 section 3.3 asks.
type hostFault struct {
	name     string
	problem  string                                            // what `stsmapd status` says to mend
	start    func(*testing.T, *faultyHost) (begin, end func()) // starts the daemon on a host that is well
	noLookup bool                                              // DNS lookups fail
}

func hostFaults() []hostFault {
	return []hostFault{
		{name: "no roots", problem: "no trusted CA root found", start: withoutRoots},
		{name: "dead proxy", problem: "check HTTPS_PROXY and the proxy", start: withProxy},
		{name: "no route", problem: "no route: check this host's network interfaces and routes", start: withoutRoute},
		{name: "resolver refuses", problem: "check that the DNS server runs", noLookup: true,
			start: func(t *testing.T, h *faultyHost) (begin, end func()) {
				h.start(t, "", h.w.CAFile)
				return func() { h.p.StopDNS(t) }, func() { h.p.StartDNS(t) }
			}},
	}
}

// hostRetry is how long after the end of a fault a question may take to get the policy.
const hostRetry = 10 * time.Second

// TestHostFaults takes something from the host that lookups or fetches need. No domain is blamed for it: live policies
// are answered; mail to new domains is delivered, or waits with the feature defer; and after the fault the next
// question after 10 s has the policy.
func TestHostFaults(t *testing.T) {
	for _, f := range hostFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := world.Open(t)
			h := &faultyHost{w: w, p: w.Publishers(t)}
			begin, end := f.start(t, h)
			live := h.fresh()
			if h.policy(t, live) != 1 {
				t.Fatalf("before the fault: %q", h.d.Ask(t, "sts", live))
			}
			begin()
			h.p.Publish(live, world.Publication{ID: 2, Policy: 2})
			domains := []string{live}
			for range 4 {
				passes, waits := h.fresh(), h.fresh()
				domains = append(domains, passes, waits)
				if got := h.d.Ask(t, "sts", passes); got != "NOTFOUND " {
					t.Errorf("a first contact is answered %q", got)
				}
				if got := h.d.Ask(t, "sts+defer", waits); !strings.HasPrefix(got,
					"TEMP MTA-STS: this host cannot look for the domain's policy: ") {
					t.Errorf("a first contact with defer is answered %q", got)
				}
			}
			world.Eventually(t, world.Hang, "a look at the new id of a live policy", func() bool {
				if n := h.policy(t, live); n != 1 {
					t.Fatalf("a live policy is answered %d in the fault", n)
				}
				return f.noLookup || len(h.d.Log.Lines("fetch policies")) > 0
			})
			h.status(t, f.problem)
			h.blamed(t, domains...)
			end()
			mended := time.Now()
			world.Poll(hostRetry, func() bool { return time.Since(mended) >= hostRetry })
			for _, domain := range domains[1:] {
				if h.policy(t, domain) != 1 {
					t.Errorf("10 s after the host was mended %s is answered %q", domain, h.d.Ask(t, "sts", domain))
				}
			}
			world.Eventually(t, world.Hang, "the new policy of the domain with a live one",
				func() bool { return h.policy(t, live) == 2 })
			h.status(t, "")
			h.blamed(t, domains...)
		})
	}
}

// withoutRoots runs the daemon with a directory for /etc/ssl/certs of its own, and takes the roots out of it.
func withoutRoots(t *testing.T, h *faultyHost) (begin, end func()) {
	dir := world.PublicDir(t)
	file := filepath.Join(dir, "ca-certificates.crt")
	reload := func(change func() error) {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		before := len(h.d.Log.Lines("event=reloaded"))
		h.d.Signal(t, syscall.SIGHUP)
		world.Eventually(t, world.Hang, "a reload",
			func() bool { return len(h.d.Log.Lines("event=reloaded")) > before })
	}
	write := func() error { return os.WriteFile(file, h.w.CA.PEM(), 0o644) }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	h.start(t, "mount --bind "+dir+" /etc/ssl/certs", "", "SSL_CERT_FILE=", "SSL_CERT_DIR=")
	return func() { reload(func() error { return os.Remove(file) }) }, func() { reload(write) }
}

// withProxy makes the daemon fetch through a proxy.
func withProxy(t *testing.T, h *faultyHost) (begin, end func()) {
	proxy := netip.AddrPortFrom(h.w.Host(), 3128)
	stop := startProxy(t, proxy, h.p.PolicyHost())
	h.start(t, "", h.w.CAFile, "HTTPS_PROXY=http://"+proxy.String())
	return func() { stop() }, func() { startProxy(t, proxy, h.p.PolicyHost()) }
}

// startProxy starts a proxy that connects to the policy hosts, and ends it with the function that it returns, or the
// test.
func startProxy(t *testing.T, address, to netip.AddrPort) (stop func()) {
	return accept(t, address, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			join(c, to)
		}
	})
}

// accept serves every connection to an address until it is stopped, or the test ends.
func accept(t *testing.T, address netip.AddrPort, serve func(net.Conn)) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	stop = sync.OnceFunc(func() { _ = l.Close() })
	t.Cleanup(stop)
	return stop
}

// join connects a client with an address until one of them ends the connection.
func join(c net.Conn, to netip.AddrPort) {
	there, err := net.Dial("tcp", to.String())
	if err != nil {
		return
	}
	defer there.Close()
	go func() { _, _ = io.Copy(there, c); _ = there.Close() }()
	_, _ = io.Copy(c, there)
}

// withoutRoute has policy hosts at an address to which the route can be taken away.
func withoutRoute(t *testing.T, h *faultyHost) (begin, end func()) {
	address := netip.MustParseAddr("203.0.113.7")
	h.p.Announce(address)
	ip := func(what string) {
		if out, err := exec.Command("ip", "address", what, address.String()+"/32", "dev",
			"lo").CombinedOutput(); err != nil {
			t.Fatalf("ip address %s: %v\n%s", what, err, out)
		}
	}
	ip("add")
	accept(t, netip.AddrPortFrom(address, 443), func(c net.Conn) { join(c, h.p.PolicyHost()) })
	h.start(t, "", h.w.CAFile)
	return func() { ip("del") }, func() { ip("add") }
}

// TestConnectionsLeaveRoomForLookups: under a hard limit of 1,024 files, with as many idle connections of a local
// user as there are accepted, first contacts get their policies. When the descriptors are gone all the same, they
// wait, and nothing is remembered.
func TestConnectionsLeaveRoomForLookups(t *testing.T) {
	t.Parallel()
	const nofile, crowd, contacts = 1024, 1500, 8
	w := world.Open(t)
	h := &faultyHost{w: w, p: w.Publishers(t)}
	h.start(t, fmt.Sprintf("ulimit -n %d", nofile), w.CAFile)
	if len(h.d.Log.Lines("event=nofile_low", "LimitNOFILE")) != 1 {
		t.Errorf("the log does not say that the limit of files is low:\n%s", h.d.Log)
	}
	maps := []string{"sts", "sts+defer"}
	askers := map[string][]*socketmap.Client{}
	for _, m := range maps {
		for range contacts {
			c, err := socketmap.Dial(t.Context(), h.d.Listeners()[0])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			askers[m] = append(askers[m], c)
		}
	}
	h.crowd(t, crowd)
	world.Eventually(t, world.Hang, "connections up to the limit",
		func() bool { return len(h.d.Log.Lines("event=socketmap_conn_limit")) > 0 })
	before := h.d.Usage(t).Files
	for _, m := range maps {
		for domain, answer := range h.first(t, m, askers[m]) {
			if world.PolicyOf(domain, answer) != 1 {
				t.Errorf("%d of %d files are open, and a first contact with %s is answered %q", before, nofile, m,
					answer)
			}
		}
	}
	if len(h.d.Log.Lines("event=socketmap_accept_failing"))+len(h.d.Log.Lines("event=host_exhausted")) > 0 {
		t.Errorf("descriptors ran out:\n%s", h.d.Log)
	}

	h.d.Limit(t, unix.RLIMIT_NOFILE, uint64(before/2))
	waiting := map[string]bool{}
	for _, m := range maps {
		for domain, answer := range h.first(t, m, askers[m]) {
			waiting[domain] = true
			if !strings.HasPrefix(answer, "TEMP ") || !strings.Contains(answer, "LimitNOFILE") {
				t.Errorf("without a descriptor a first contact with %s is answered %q", m, answer)
			}
			h.blamed(t, domain)
		}
	}
	h.d.Limit(t, unix.RLIMIT_NOFILE, nofile)
	for domain := range waiting {
		if got := ask(t, askers["sts"][0], "sts", domain); world.PolicyOf(domain, got) != 1 {
			t.Errorf("with descriptors again, the first question for %s is answered %q", domain, got)
		}
	}
	// One line for lookups and one for fetches, whichever failed.
	if n := len(h.d.Log.Lines("event=host_exhausted", "LimitNOFILE")); n < 1 || n > 2 ||
		len(h.d.Log.Lines("event=host_recovered")) == 0 {
		t.Errorf("the log does not tell of the want of descriptors and its end:\n%s", h.d.Log)
	}
}

// crowd opens connections that say nothing, from many addresses: each has ports enough for some.
func (h *faultyHost) crowd(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		d := net.Dialer{Timeout: world.Hang, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 3, byte(i>>8), byte(i))}}
		c, err := d.DialContext(t.Context(), "tcp", h.d.Inet.String())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// first asks for a new domain over each connection, all at once, and returns the answers.
func (h *faultyHost) first(t *testing.T, mapName string, askers []*socketmap.Client) map[string]string {
	t.Helper()
	domains, answers := make([]string, len(askers)), make([]string, len(askers))
	for i := range domains {
		domains[i] = h.fresh()
	}
	var all sync.WaitGroup
	for i, a := range askers {
		all.Go(func() { answers[i] = ask(t, a, mapName, domains[i]) })
	}
	all.Wait()
	found := map[string]string{}
	for i, domain := range domains {
		found[domain] = answers[i]
	}
	return found
}

func ask(t *testing.T, c *socketmap.Client, mapName, domain string) string {
	reply, err := c.Ask(t.Context(), mapName, domain)
	if err != nil {
		t.Errorf("asking for %s: %v", domain, err)
	}
	return reply.String()
}
