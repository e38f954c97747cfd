package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestDoctor runs `stsmapd postfix` on each case, applies its changes, and sends mail to test whether the diagnosis was
// right.
func TestDoctor(t *testing.T) {
	cases := slices.Clone(doctorCases)
	all := mistakes()
	step := len(all) / testkit.Sample(t, "mistakes", len(all), 25)
	for i := 0; i < len(all); i += step {
		cases = append(cases, all[i])
	}
	w := world.Open(t)
	p, ward := doctorWorld(t, w, cases)
	t.Run("cases", func(t *testing.T) { // ends when all its parallel tests have, and only then Postfix stops
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				ward.diagnose(t, w, c, nil)
				ward.deliver(t, w, p, c)
			})
		}
	})
}

// ward is what all cases share.
type ward struct{ inet, smtpd, dir, socket string }

// doctorWorld starts a stsmapd and a Postfix with an SMTP client for each case.
func doctorWorld(t *testing.T, w *world.World, cases []doctorCase) (*world.Postfix, ward) {
	t.Helper()
	p := w.NewPostfix(t, world.PostfixConfig{Map: "sts"})
	files := world.PublicDir(t)
	ward := ward{dir: files, socket: filepath.Join(p.Queue, world.SocketName)}
	d := w.StartDaemon(t, world.DaemonConfig{Unix: ward.socket})
	ward.inet, ward.smtpd = d.Inet.String(), w.PlainMXHost(t, "another-server.example.test", 25).Addr.String()
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(files, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("all.re", []byte("/./ none\n"))
	write("untrusted.pem", w.Untrusted.PEM())
	write("ehlo.cidr", []byte("0.0.0.0/0 starttls\n"))
	writePairs(t, w, write)
	if err := os.Mkdir(filepath.Join(files, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	forward(t, filepath.Join(files, "sts.sock"), ward.socket)
	forward(t, filepath.Join(files, "closed", "sts.sock"), ward.socket)
	var clients, routes strings.Builder
	for _, c := range cases {
		chroot := "n"
		if c.chroot {
			chroot = "y"
		}
		fmt.Fprintf(&clients, "smtp-%s unix - - %s - - smtp\n  -o syslog_name=postfix/%s\n", c.name, chroot, c.name)
		if c.args != "" {
			fmt.Fprintf(&clients, "  %s\n", ward.fill(c.args))
		}
		for _, name := range slices.Sorted(maps.Keys(c.set)) {
			fmt.Fprintf(&clients, "  -o { %s = %s }\n", name, ward.fill(c.set[name]))
		}
		fmt.Fprintf(&routes, " { @%s.sender.test = smtp-%s:%s }", c.name, c.name, c.relay)
	}
	p.Master(t, clients.String())
	p.Postconf(t, "-e", "sender_dependent_default_transport_maps = inline:{"+routes.String()+" }",
		"default_transport = smtp-right",
		"proxy_read_maps = "+ward.fill("proxy:"+ourMap+" proxy:hash:@DIR/missing"))
	p.Start(t)
	return p, ward
}

// writePairs writes a certificate with its key, in both orders, and another key.
func writePairs(t *testing.T, w *world.World, write func(name string, text []byte)) {
	t.Helper()
	var blocks [2][2][]byte
	for i := range blocks {
		certificate := world.Certificate(t)(w.CA.Issue("mta.sender.test"))
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		blocks[i][0] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
		blocks[i][1] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	write("pair.pem", slices.Concat(blocks[0][0], blocks[0][1]))
	write("chain.pem", slices.Concat(blocks[0][1], blocks[0][0]))
	write("otherkey.pem", blocks[1][1])
}

// fill puts the places of this run into a setting.
func (s ward) fill(text string) string {
	return strings.NewReplacer("@INET", s.inet, "@DIR", s.dir, "@SMTPD", s.smtpd, "@MAP",
		"socketmap:inet:"+s.inet+":sts").Replace(text)
}

// diagnosed is the output of `stsmapd postfix --json`.
type diagnosed struct {
	Version  string
	OK       bool
	Findings []struct{ ID, Severity, Problem, Cure string }
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

// diagnose runs `stsmapd postfix` on a Postfix that is set up like the case, applies the changes, and runs it again.
func (s ward) diagnose(t *testing.T, w *world.World, c doctorCase, tree *world.Tree) {
	t.Helper()
	p := w.NewPostfix(t, world.PostfixConfig{Map: "sts", Tree: tree})
	chroot := "n"
	if c.chroot {
		chroot = "y"
	}
	forward(t, filepath.Join(p.Queue, world.SocketName), s.socket)
	p.Master(t, fmt.Sprintf("smtp unix - - %s - - smtp %s\nrelay unix - - %s - - smtp\n", chroot, s.fill(c.args),
		chroot))
	settings := []string{"-e", "default_transport = smtp", "relayhost = " + c.relay}
	for _, name := range slices.Sorted(maps.Keys(c.set)) {
		settings = append(settings, name+" = "+s.fill(c.set[name]))
	}
	p.Postconf(t, settings...)
	master := readFile(t, filepath.Join(p.Config, "master.cf"))
	before := readFile(t, filepath.Join(p.Config, "main.cf"))
	connect := "--connect=inet:" + s.inet

	first := doctor(t, w, p, connect)
	if got := first.urgent(); !slices.Equal(got, c.say) {
		t.Errorf("stsmapd postfix finds %q, want %q: %+v", got, c.say, first.Findings)
	}
	if harmless := c.open == "sent" && (c.kept == "sent" || c.kept == ""); first.OK && !harmless && c.open != "" {
		t.Errorf("stsmapd postfix finds nothing to do, and mail is %s and %s", c.open, c.kept)
	}
	if len(first.Blocked) > 0 {
		t.Errorf("not to be mended yet: %q", first.Blocked)
	}
	if got := readFile(t, filepath.Join(p.Config, "main.cf")); got != before {
		t.Errorf("main.cf was changed by a look at it:\n%s", got)
	}
	applied := p.Doctor(t, w, connect, "--apply", "--yes")
	second := doctor(t, w, p, connect)
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
	changed := map[string]string{}
	old := strings.Split(before, "\n")
	for line := range strings.Lines(after) {
		line = strings.TrimSuffix(line, "\n")
		if name, value, found := strings.Cut(line, "="); found && !slices.Contains(old, line) {
			changed[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return changed
}

// deliver sends mail through the case's SMTP client.
func (s ward) deliver(t *testing.T, w *world.World, p *world.Postfix, c doctorCase) {
	t.Helper()
	open, kept := w.Domain("open-"+c.name), w.Domain("kept-"+c.name)
	open.AddPlainMX(t)
	mx := kept.AddMX(t)
	kept.Publish(t, "1", world.Text("enforce", mx.Name))
	for _, mail := range []struct {
		domain      *world.Domain
		status, tls string
	}{{open, c.open, ""}, {kept, c.kept, c.tls}} {
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
			continue
		}
		got := p.Delivery(t, id)
		if got.Status != mail.status || got.TLS != mail.tls && mail.tls != "any" {
			t.Errorf("%s: mail for %s is %s with TLS %q, want %s with %q (%s)",
				c.why, mail.domain.Name, got.Status, got.TLS, mail.status, mail.tls, got.Reason)
		}
	}
}

// forward opens a UNIX socket that every user may use, and passes its connections on to another one.
func forward(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(from, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go passOn(l, to)
}

// passOn passes the connections of a listener on to the UNIX socket at this path, until the listener is closed.
func passOn(l net.Listener, path string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			other, err := net.Dial("unix", path)
			if err != nil {
				return // the client sees the connection end
			}
			defer other.Close()
			go func() {
				_, _ = io.Copy(other, conn)
				_ = other.Close()
			}()
			_, _ = io.Copy(conn, other)
		}()
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDoctorDebian runs `stsmapd postfix` on the default of Debian's package, and on what the end-to-end tests use.
func TestDoctorDebian(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	p := w.NewPostfix(t, world.PostfixConfig{Map: "sts"})
	d := w.StartDaemon(t, world.DaemonConfig{Unix: filepath.Join(p.Queue, world.SocketName)})
	connect := "--connect=inet:" + d.Inet.String()
	p.Postconf(t, "-e", "default_transport = smtp", "smtp_tls_CAfile =", "smtp_tls_security_level =")
	p.Master(t, "smtp unix - - y - - smtp\nrelay unix - - y - - smtp -o syslog_name=postfix/$service_name\n"+
		"filter unix - - n - 2 smtp -o smtp_tls_security_level=none -o smtp_tls_policy_maps=\n")
	got := p.Doctor(t, w, connect)
	unwrapped := strings.NewReplacer("\n    (chroot)", " (chroot)", "\n    relay/", " relay/", "\n    filter/",
		" filter/").Replace(got.Stdout)
	for _, text := range []string{
		"smtp/unix (chroot), relay/unix (chroot), filter/unix\n", "\nerror no-map: ", "\nerror no-ca: ",
		"\nwarning level-none: ",
		"\n    smtp_tls_policy_maps = socketmap:inet:" + d.Inet.String() + ":sts\n",
		"\n    smtp_tls_security_level = may\n",
		"\n    smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n", "`postfix -c " + p.Config + " reload`",
	} {
		if !strings.Contains(unwrapped, text) {
			t.Errorf("stsmapd postfix does not say %q:\n%s", text, got.Stdout)
		}
	}
	if got.Code != 1 || got.Stderr != "" {
		t.Errorf("exit code %d, want 1; stderr %q", got.Code, got.Stderr)
	}
	if got := p.Doctor(t, w, connect, "--apply", "--yes"); got.Code != 0 {
		t.Errorf("mended: %+v", got)
	}
	if got := p.Doctor(t, w, "--connect=inet:127.0.0.1:1", "--apply", "--yes"); got.Code != 0 {
		t.Errorf("mended, and asked again with another listener, though the present one answers: %+v", got)
	}
}

// TestDoctorMends is the story of an administrator who copied the wrong line: no mail arrives, he asks stsmapd, it
// mends main.cf, he reloads Postfix, and mail arrives.
func TestDoctorMends(t *testing.T) {
	w := world.Open(t)
	p := w.NewPostfix(t, world.PostfixConfig{Map: "sts"})
	d := w.StartDaemon(t, world.DaemonConfig{})
	p.Master(t, "smtp unix - - n - - smtp -o syslog_name=postfix/inet\n")
	p.Postconf(t, "-e", "default_transport = smtp", "sender_dependent_default_transport_maps =",
		"smtp_tls_policy_maps = socketmap:inet:"+d.Inet.String()+":sts+tlsrpt")
	p.Start(t)
	domain := w.Domain("mended")
	mx := domain.AddMX(t)
	domain.Publish(t, "1", world.Text("enforce", mx.Name))
	to := "someone@" + domain.Name
	if got := p.Delivery(t, p.Send(t, world.ByInet, "user", to)); got.Status != "deferred" {
		t.Errorf("with a wrong map: %+v", got)
	}
	if got := p.Doctor(t, w, "--connect=inet:"+d.Inet.String(), "--apply", "--yes"); got.Code != 0 ||
		!strings.Contains(got.Stderr, "reload") {
		t.Errorf("stsmapd postfix --apply: %+v", got)
	}
	p.Reload(t)
	if got := p.Delivery(t, p.Send(t, world.ByInet, "user", to)); got.Status != "sent" || got.TLS != "Verified" {
		t.Errorf("with the right map: %+v", got)
	}
}

// TestDoctorCompatibility tests the default of the chroot column before Postfix 3.0, which compatibility_level can
// keep.
func TestDoctorCompatibility(t *testing.T) {
	w := world.Open(t)
	p := w.NewPostfix(t, world.PostfixConfig{Map: "sts"})
	socket := filepath.Join(world.PublicDir(t), "sts.sock")
	d := w.StartDaemon(t, world.DaemonConfig{Unix: socket})
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	p.Master(t, "smtp unix - - - - - smtp -o syslog_name=postfix/inet\n")
	p.Postconf(t, "-e", "compatibility_level = 0", "default_transport = smtp",
		"sender_dependent_default_transport_maps =",
		"smtp_tls_policy_maps = socketmap:unix:"+socket+":sts")
	got := doctor(t, w, p, "--connect=inet:"+d.Inet.String())
	if !slices.Equal(got.urgent(), []string{"socket-outside-chroot"}) {
		t.Errorf("with compatibility_level = 0: %+v", got)
	}
	p.Start(t)
	domain := w.Domain("compatible")
	domain.AddPlainMX(t)
	if got := p.Delivery(t, p.Send(t, world.ByInet, "user", "someone@"+domain.Name)); got.Status != "deferred" {
		t.Errorf("with compatibility_level = 0, mail goes out: %+v", got)
	}
	p.Postconf(t, "-e", "compatibility_level = 3.6")
	if got := doctor(t, w, p, "--connect=inet:"+d.Inet.String()); !got.OK {
		t.Errorf("with compatibility_level = 3.6: %+v", got)
	}
}

// TestDoctorNewer runs `stsmapd postfix` on Postfix 3.10 and on 3.11 or later.
func TestDoctorNewer(t *testing.T) {
	t.Parallel()
	newest := func(parameters ...string) map[string]string {
		set := tables(ourMap + "+tlsrpt")
		for i := 0; i < len(parameters); i += 2 {
			set[parameters[i]] = parameters[i+1]
		}
		return set
	}
	both := []doctorCase{
		{name: "right", set: newest()},
		{name: "chrooted", chroot: true, set: tables("socketmap:unix:/stsmapd.sock:sts+tlsrpt")},
		{name: "plain", set: tables(ourMap), say: []string{"no-tlsrpt"}},
		{name: "without SNI", set: tables(ourMap + "+tlsrpt+nosni"), say: []string{"nosni-needless"}},
		{name: "patterns off", set: newest("smtp_tls_enforce_sts_mx_patterns", "no"), say: []string{"mx-patterns-off"}},
		{
			name: "DANE", set: newest("smtp_tls_policy_maps", "socketmap:inet:@INET:QUERYwithTLSRPT",
				"smtp_tls_security_level", "dane",
				"smtp_dns_support_level", "dnssec"),
		},
		{
			name: "everything at once", chroot: true,
			set: newest("smtp_tls_policy_maps", "static:may, socketmap:inet:127.0.0.1:1:QUERY",
				"smtp_tls_security_level", "dane", "smtp_tls_enforce_sts_mx_patterns", "no"),
			say: []string{"other-daemon", "no-map", "dane-without-dnssec", "mx-patterns-off"},
		},
	}
	const defaultLevel = "${{$compatibility_level} <level {3.11} ? {} : {may}}" // of smtp_tls_security_level since 3.11
	later := []doctorCase{
		{name: "today's default level",
			set: newest("compatibility_level", "3.11", "smtp_tls_security_level", defaultLevel)},
		{
			name: "yesterday's default level",
			set:  newest("compatibility_level", "3.10", "smtp_tls_security_level", defaultLevel),
			say:  []string{"level-none"},
		},
	}
	t.Run("3.10", func(t *testing.T) { examineAll(t, world.Trixie, both) })
	t.Run("later", func(t *testing.T) { examineAll(t, world.Sid, append(both, later...)) })
}

// examineAll runs `stsmapd postfix` on this system's Postfix in each of these cases.
func examineAll(t *testing.T, system world.System, cases []doctorCase) {
	t.Parallel()
	w := world.Open(t)
	tree := w.Tree(t, system, w.Resolver())
	socket := filepath.Join(world.PublicDir(t), "sts.sock")
	d := w.StartDaemon(t, world.DaemonConfig{Unix: socket})
	s := ward{inet: d.Inet.String(), dir: world.PublicDir(t), socket: socket}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { s.diagnose(t, w, c, tree) })
	}
}
