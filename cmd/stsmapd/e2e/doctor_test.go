package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// itsPostfix is a Postfix that the cases are tried on.
type itsPostfix struct {
	name   string
	system world.System
}

// postfixes are the Postfixes that the cases are tried on: 3.7, or what the machine has; 3.10; and 3.11 or later.
func postfixes() []itsPostfix {
	return []itsPostfix{{"machine", world.Own}, {"Debian 13", world.Trixie}, {"sid", world.Sid}}
}

// TestDoctor sets up each Postfix as each case has it, runs `stsmapd postfix`, applies its changes, and sends mail to
// test whether the diagnosis was right.
func TestDoctor(t *testing.T) {
	for _, its := range postfixes() {
		t.Run(its.name, func(t *testing.T) {
			w := world.Open(t)
			s := newWard(t, w, its.system, w.Resolver())
			t.Logf("Postfix %s", s.version)
			var together, alone []doctorCase
			for _, c := range allRows(t) {
				switch {
				case !c.isFor(s.version):
				case c.alone():
					alone = append(alone, c)
				default:
					together = append(together, c)
				}
			}
			t.Run("together", func(t *testing.T) { s.together(t, together) })
			var signed *ward
			for _, c := range sampled(t, "Postfixes of their own", alone, 3) {
				of := s
				if c.signed {
					if signed == nil {
						signed = newWard(t, w, its.system, w.Validator(t).Addr)
					}
					of = signed
				}
				t.Run(c.name, func(t *testing.T) { of.alone(t, c) })
			}
		})
	}
}

// allRows are all cases, or the sample of them for `make test`.
func allRows(t *testing.T) []doctorCase {
	t.Helper()
	return slices.Concat(doctorCases, sampled(t, "good configurations", goodConfigurations(mapsOfContainers(t)), 6),
		sampled(t, "mistakes", mistakes(), 14), ownCases())
}

// TestDoctorRows counts the rows of TestDoctor.
func TestDoctorRows(t *testing.T) {
	good := goodConfigurations(mapsOfContainers(t))
	names := map[string]bool{}
	mistaken, harmless, tried := 0, 0, 0
	for _, c := range slices.Concat(doctorCases, mistakes(), ownCases(), good) {
		if names[c.name] {
			t.Errorf("two rows have the name %s", c.name)
		}
		names[c.name] = true
		if c.open != "" && c.kept != "" {
			tried++
		}
		switch {
		case len(c.say)+len(c.notes) > 0:
			mistaken++
		default:
			harmless++
		}
	}
	t.Logf("%d rows: %d mistakes, %d without a finding, of which %d are whole configurations; %d with both messages",
		len(names), mistaken, harmless, len(good), tried)
	const ofIssue = 25 // the mistakes that the first doctor missed
	if mistaken < ofIssue+80 || len(good) < 12 {
		t.Error("these are too few")
	}
}

// sampled returns so many of the cases for `make test`, spread over all, and all for `make test-all`.
func sampled(t *testing.T, what string, all []doctorCase, part int) []doctorCase {
	t.Helper()
	step := len(all) / testkit.Sample(t, what, len(all), part)
	var some []doctorCase
	for i := 0; i < len(all); i += step {
		some = append(some, all[i])
	}
	return some
}

// together tries cases with one Postfix, which has an SMTP client for each.
func (s *ward) together(t *testing.T, cases []doctorCase) {
	t.Helper()
	p := s.newPostfix(t)
	var clients, routes strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&clients, "smtp-%s unix - - %s - - smtp %s\n", c.name, c.jail(), s.fill(p, c.arguments()))
		for _, name := range slices.Sorted(maps.Keys(c.set)) {
			fmt.Fprintf(&clients, "  -o { %s = %s }\n", name, s.fill(p, c.set[name]))
		}
		fmt.Fprintf(&routes, " { @%s.sender.test = smtp-%s:%s }", c.name, c.name, c.relay)
	}
	p.Master(t, clients.String())
	p.Postconf(t, "-e", "sender_dependent_default_transport_maps = inline:{"+routes.String()+" }",
		"default_transport = smtp-right",
		"proxy_read_maps = "+s.fill(p, "proxy:"+ourMap+" proxy:hash:@DIR/missing proxy:texthash:@DIR/table"))
	p.Start(t)
	t.Run("cases", func(t *testing.T) { // ends when all its parallel tests have, and only then Postfix stops
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				its := s.setUp(t, c)
				its.NoCheck = true // whose warnings are not about SMTP clients
				s.diagnose(t, its, c)
				s.deliver(t, p, c)
			})
		}
	})
}

// alone tries a case with a Postfix of its own, before and after the changes.
func (s *ward) alone(t *testing.T, c doctorCase) {
	t.Helper()
	p := s.setUp(t, c)
	sender, connect := p, "--connect=inet:"+s.inet
	if c.second != nil {
		sender = s.setUp(t, doctorCase{name: c.name, set: c.second})
		sender.Postconf(t, "-e", "multi_instance_enable = yes", "multi_instance_name = postfix-second")
		p.Postconf(t, "-e", "multi_instance_directories = "+sender.Config)
	}
	sender.Start(t)
	s.deliver(t, sender, c)
	found := s.diagnose(t, p, c)
	if len(c.say) == 0 {
		return
	}
	for _, f := range found.Findings {
		for _, fix := range f.Fixes {
			if fix.Service != "" {
				p.Postconf(t, "-P", fix.Service+"/"+fix.Parameter+"="+fix.Value)
			}
		}
	}
	if c.without != "" {
		_, line, _ := strings.Cut(found.Findings[0].Cure, "add to master.cf: ")
		appendTo(t, filepath.Join(p.Config, "master.cf"), line+"\n")
	}
	for name, value := range c.byHand {
		p.Postconf(t, "-e", name+" = "+s.fill(p, value))
	}
	if sender != p {
		sender.Doctor(t, s.w, connect, "--apply", "--yes")
	}
	if got := doctor(t, s.w, p, connect); !got.OK {
		t.Errorf("after all cures: %+v", got.Findings)
	}
	sender.Reload(t)
	c.open, c.kept, c.tls, c.broken, c.other = "sent", "sent", "Verified", "deferred", ""
	s.deliver(t, sender, c)
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
