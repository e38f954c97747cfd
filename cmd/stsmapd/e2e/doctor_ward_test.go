package e2e

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// ward is what all cases of a Postfix share: a stsmapd, and files.
type ward struct {
	w                   *world.World
	tree                *world.Tree
	version             string // of Postfix
	inet, socket, smtpd string // addresses of stsmapd, and of another server
	dir                 string
}

// newWard starts a stsmapd, and writes the files that cases name. It and Postfix ask this resolver.
func newWard(t *testing.T, w *world.World, system world.System, resolver netip.Addr) *ward {
	t.Helper()
	s := &ward{w: w, dir: world.PublicDir(t)}
	if system != world.Own || resolver != w.Resolver() {
		s.tree = w.Tree(t, system, resolver)
	}
	s.socket = filepath.Join(s.dir, "sts.sock")
	d := w.StartDaemon(t, world.DaemonConfig{Unix: s.socket, Resolver: resolver})
	s.inet, s.smtpd = d.Inet.String(), w.PlainMXHost(t, "another-server.example.test", 25).Addr.String()
	w.MXHost(t, "smtp.isp.test", 587)
	w.PlainMXHost(t, "fallback.example.test", 25)
	s.version = s.newPostfix(t).Version(t)
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("all.re", []byte("/./ none\n"))
	write("some.re", []byte("/^X-Originating-IP:/ IGNORE\n"))
	write("some.cidr", []byte("198.51.100.0/24 starttls\n"))
	write("ehlo.cidr", []byte("0.0.0.0/0 starttls\n"))
	write("transports", []byte("# all of this test's domains\n.example.test slow:\n"))
	write("transports.re", []byte("/[.]example[.]test$/ slow:\n"))
	write("table", []byte("a.test may\n"))
	write("untrusted.pem", w.Untrusted.PEM())
	writePairs(t, w, write)
	if err := os.Mkdir(filepath.Join(s.dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	forward(t, filepath.Join(s.dir, "closed", "sts.sock"), s.socket)
	return s
}

// newPostfix returns a Postfix with stsmapd's socket in its queue directory.
func (s *ward) newPostfix(t *testing.T) *world.Postfix {
	t.Helper()
	p := s.w.NewPostfix(t, world.PostfixConfig{Map: "sts", Tree: s.tree})
	forward(t, filepath.Join(p.Queue, world.SocketName), s.socket)
	return p
}

// fill puts the places of this run, and what is right for this Postfix, into a setting.
func (s *ward) fill(p *world.Postfix, text string) string {
	mapName, tlspolName := "sts", "QUERY"
	if !olderThan(s.version, "3.10") {
		mapName, tlspolName = "sts+tlsrpt", "QUERYwithTLSRPT"
	}
	text = strings.ReplaceAll(text, "@MAP", ourMap)
	return strings.NewReplacer("@INET", s.inet, "@DIR", s.dir, "@SMTPD", s.smtpd, "@STS", mapName, "@QUERY",
		tlspolName, "@QUEUE", p.Queue, "@CA", s.w.CAFile).Replace(text)
}

// setUp returns a Postfix that is set up like the case.
func (s *ward) setUp(t *testing.T, c doctorCase) *world.Postfix {
	t.Helper()
	p := s.newPostfix(t)
	fill := func(text string) string { return strings.ReplaceAll(s.fill(p, text), "@NAME", c.name) }
	const service = "%s unix - - %s - - smtp %s -o syslog_name=postfix/%s\n"
	p.Master(t, fmt.Sprintf(service, "smtp", c.jail(), fill(c.args), c.name)+
		fmt.Sprintf(service, "relay", c.jail(), fill(c.relayArgs), c.name)+fill(c.master))
	if c.without != "" {
		p.Postconf(t, "-MX", c.without)
	}
	set := map[string]string{"default_transport": "smtp", "relayhost": c.relay,
		"sender_dependent_default_transport_maps": ""}
	maps.Copy(set, c.set)
	settings := []string{"-e"}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		settings = append(settings, name+" = "+fill(set[name]))
	}
	p.Postconf(t, settings...)
	if c.predecessor != "" {
		p.ResolverConfig = filepath.Join(p.Config, "mta-sts-daemon.yml")
		if err := os.WriteFile(p.ResolverConfig, []byte(c.predecessor), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, filepath.Join(p.Config, "main.cf"), s.fill(p, c.main))
	return p
}

// found is a finding in that output.
type found struct {
	ID, Severity, Problem, Cure string
	Where                       []string
	Fixes                       []struct{ Service, Parameter, Value string }
}

// diagnosed is the output of `stsmapd postfix --json`.
type diagnosed struct {
	Version  string
	OK       bool
	Findings []found
	Changes  []struct{ Parameter, Old, New string }
	Blocked  []string
}

// urgent are the ids of errors and warnings.
func (d diagnosed) urgent() []string {
	var list []string
	for _, f := range d.Findings {
		if f.Severity != "note" {
			list = append(list, f.ID)
		}
	}
	return list
}

// diagnose runs `stsmapd postfix` on a Postfix that is set up like the case, applies the changes, and runs it again. It
// returns what it says first.
func (s *ward) diagnose(t *testing.T, p *world.Postfix, c doctorCase) diagnosed {
	t.Helper()
	master := readFile(t, filepath.Join(p.Config, "master.cf"))
	before := readFile(t, filepath.Join(p.Config, "main.cf"))
	connect := "--connect=inet:" + s.inet

	first := doctor(t, s.w, p, connect)
	if got := first.urgent(); !slices.Equal(got, c.say) {
		t.Errorf("stsmapd postfix finds %q, want %q: %+v", got, c.say, first.Findings)
	}
	for _, f := range first.Findings {
		checkPlaces(t, f, c.set)
	}
	later := "deferred, and sent unencrypted when it is tried again"
	said := func(f found) bool {
		return strings.Contains(f.Problem, "encrypted") && strings.Contains(f.Problem, later) == (c.other == "deferred")
	}
	if c.other != "" && !slices.ContainsFunc(first.Findings, said) {
		t.Errorf("mail without a policy is %s in the clear, which no finding says: %+v", c.other, first.Findings)
	}
	for _, id := range c.notes {
		if !slices.ContainsFunc(first.Findings, func(f found) bool { return f.ID == id }) {
			t.Errorf("stsmapd postfix does not note %s: %+v", id, first.Findings)
		}
	}
	if cure := s.fill(p, c.cure); cure != "" && !strings.Contains(first.Findings[0].Cure, cure) {
		t.Errorf("the cure is %q, want %q in it", first.Findings[0].Cure, cure)
	}
	harmless := c.open == "sent" && (c.kept == "sent" || c.kept == "") && c.broken != "sent"
	if first.OK && !harmless && !c.asked {
		t.Errorf("stsmapd postfix finds nothing to do, and mail is %s and %s", c.open, c.kept)
	}
	if len(first.Blocked) > 0 {
		t.Errorf("not to be mended yet: %q", first.Blocked)
	}
	if got := readFile(t, filepath.Join(p.Config, "main.cf")); got != before {
		t.Errorf("main.cf was changed by a look at it:\n%s", got)
	}
	p.NoCheck = true
	if len(first.Changes) == 0 {
		return first
	}
	applied := p.Doctor(t, s.w, connect, "--apply", "--yes")
	second := doctor(t, s.w, p, connect)
	if len(second.Changes) > 0 || second.OK != (applied.Code == 0) {
		t.Errorf("mended (exit code %d), there is still to change: %+v", applied.Code, second)
	}
	if got := readFile(t, filepath.Join(p.Config, "master.cf")); got != master {
		t.Errorf("master.cf was changed:\n%s", got)
	}
	want := map[string]string{}
	for _, change := range first.Changes {
		want[change.Parameter] = change.New
	}
	if got := differences(before, readFile(t, filepath.Join(p.Config, "main.cf"))); !maps.Equal(got, want) {
		t.Errorf("main.cf changed by %q, announced were %q", got, want)
	}
	return first
}

// checkPlaces tests that a finding names the lines that it is about, and no other.
func checkPlaces(t *testing.T, f found, set map[string]string) {
	t.Helper()
	for _, place := range f.Where {
		file, digits, _ := strings.Cut(place, ":")
		number, err := strconv.Atoi(digits)
		lines := strings.Split(readFile(t, file), "\n")
		if err != nil || number < 1 || number > len(lines) {
			t.Errorf("%s is at %s", f.ID, place)
			continue
		}
		line := lines[number-1]
		name := strings.TrimSpace(strings.SplitN(line, "=", 2)[0])
		if strings.HasSuffix(file, "main.cf") && name != "smtp_tls_policy_maps" &&
			!strings.Contains(f.Problem+f.Cure, name) {
			t.Errorf("%s is at %s, which is %q: %s", f.ID, place, line, f.Problem)
		}
	}
	for name := range set {
		// of two parameters, the one that is not set has no line
		if len(f.Where) == 0 && strings.Contains(f.Problem, name+" = ") && !strings.Contains(f.Problem, ", and ") {
			t.Errorf("%s is nowhere: %s", f.ID, f.Problem)
		}
	}
}

// doctor runs `stsmapd postfix --json`.
func doctor(t *testing.T, w *world.World, p *world.Postfix, args ...string) diagnosed {
	t.Helper()
	r := p.Doctor(t, w, append([]string{"--json"}, args...)...)
	var d diagnosed
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		t.Fatalf("stsmapd postfix --json: %v\n%+v", err, r)
	}
	if want := map[bool]int{true: 0, false: 1}[d.OK]; r.Code != want || r.Stderr != "" {
		t.Errorf("exit code %d, want %d; stderr %q", r.Code, want, r.Stderr)
	}
	return d
}

// differences are the settings of one main.cf that another does not have.
func differences(before, after string) map[string]string {
	settings := func(text string) map[string]string {
		all := map[string]string{}
		for line := range strings.Lines(text) {
			if name, value, found := strings.Cut(line, "="); found {
				all[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		return all
	}
	old, changed := settings(before), settings(after)
	maps.DeleteFunc(changed, func(name, value string) bool {
		present, found := old[name]
		return found && present == value
	})
	return changed
}

// deliver sends mail through the case's SMTP client: for a domain without a policy, whose MX has no STARTTLS; for one
// with a policy, whose MX meets it; for one whose MX does not; and for one without a policy, whose MX has STARTTLS.
func (s *ward) deliver(t *testing.T, p *world.Postfix, c doctorCase) {
	t.Helper()
	mode := cmp.Or(c.mode, "enforce")
	domain := s.w.Domain
	if c.signed {
		domain = func(label string) *world.Domain { return s.w.SignedDomain(t, label) }
	}
	open, kept, broken := domain("open-"+c.name), domain("kept-"+c.name), domain("broken-"+c.name)
	other := domain("other-" + c.name)
	open.AddPlainMX(t)
	other.AddMX(t)
	mx := kept.AddMX(t)
	kept.Publish(t, "1", world.Text(mode, mx.Name))
	if c.signed {
		s.setTLSA(t, mx, sha256.Sum256(leaf(t, mx).RawSubjectPublicKeyInfo))
	}
	mx = broken.AddMX(t)
	if c.signed {
		s.setTLSA(t, mx, [sha256.Size]byte{})
	} else {
		mx.SetCertificate(world.Certificate(t)(s.w.Untrusted.Issue(mx.Name)))
		broken.Publish(t, "1", world.Text(mode, mx.Name))
	}
	clear := "" // what the domain's own MX host gets
	if c.relay != "" {
		clear = "any"
	}
	for _, mail := range []struct {
		domain      *world.Domain
		status, tls string
	}{{open, c.open, clear}, {kept, c.kept, c.tls}, {broken, c.broken, "any"}, {other, c.other, ""}} {
		if mail.status == "" {
			continue
		}
		id := p.Send(t, world.Route(c.name), "user", "someone@"+mail.domain.Name)
		if mail.status == "dead" {
			last := c.last
			if last == "" {
				last = "postfix/" + c.name + "/smtp["
			}
			world.Eventually(t, world.Hang, "the end of the SMTP client", func() bool {
				return len(p.LogLines(t, last, "fatal:")) > 0
			})
			if sent := p.LogLines(t, id, "status=sent"); len(sent) > 0 {
				t.Errorf("%s: the SMTP client ended, and sent: %q", c.why, sent)
			}
			continue
		}
		got := p.Delivery(t, id)
		if got.Status != mail.status || got.TLS != mail.tls && mail.tls != "any" {
			t.Errorf("%s: mail for %s is %s with TLS %q, want %s with %q (%s)",
				c.why, mail.domain.Name, got.Status, got.TLS, mail.status, mail.tls, got.Reason)
		}
	}
}

// setTLSA sets the TLSA record of an MX host to this digest of a public key.
func (s *ward) setTLSA(t *testing.T, mx *world.MXHost, digest [sha256.Size]byte) {
	t.Helper()
	name := "_25._tcp." + mx.Name
	s.w.DNS.Set(name, dns.TypeTLSA, fmt.Sprintf("%s. 300 IN TLSA 3 1 1 %x", name, digest))
}

// leaf returns the certificate of an MX host.
func leaf(t *testing.T, mx *world.MXHost) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(mx.Certificate().Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
