package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// deliver turns stsmapd on by the lines of README.md, as a newcomer does, and has a mail delivered, verified, to a
// domain of a small Internet in the system's network. Then the mail log tells what happened, and what to warm.
func (m *machine) deliver(t *testing.T) {
	// On other addresses port 25 is an MX host's.
	m.run(t, "postconf -e inet_interfaces=127.0.0.1 && systemctl restart postfix")
	var domain *world.Domain
	var mx *world.MXHost
	m.within(t, func() {
		// Mail to a loopback address is of no interest to stsmapd.
		route := exec.Command("ip", "route", "add", "local", "198.18.0.0/16", "dev", "lo")
		if out, err := route.CombinedOutput(); err != nil {
			t.Fatalf("ip: %v\n%s", err, out)
		}
		w, err := world.Bare(m.shared, [2]byte{198, 18})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.DNS.Close() })
		domain = w.DomainNamed("partner.test")
		mx = domain.AddMX(t)
		domain.Publish(t, "1", world.Text("enforce", mx.Name, "*.example.net"))
	})
	m.run(t, `cp /test/ca.pem /usr/local/share/ca-certificates/world.crt && update-ca-certificates
		echo nameserver 127.0.0.1 >/etc/resolv.conf
		printf '[fetch]\nallow_private_addresses = true\n' >/etc/stsmapd/stsmapd.toml`)
	since := strings.TrimSpace(m.run(t, "date +%s"))
	m.run(t, "systemctl restart stsmapd postfix") // for resolv.conf in Postfix's chroot
	m.turnOn(t)
	shown := readme(t, "See that it works", "partner.test")
	if len(shown) != 4 {
		t.Fatalf("README.md shows, after a delivery, %q", shown)
	}
	m.want(t, shown[0], shown[1])
	m.run(t, "printf 'Subject: first\\n\\ntext\\n' | sendmail -f root@host.example.test user@partner.test")
	testkit.Eventually(t, testkit.Hang, "the delivery", func() bool { return len(mx.Messages()) == 1 })
	if message := mx.Messages()[0]; !message.TLS || message.SNI != "mx1.partner.test" {
		t.Errorf("the MX host received %+v", message)
	}
	journal := "journalctl -q --no-pager -o cat --since @" + since
	testkit.Eventually(t, testkit.Hang, "Postfix's line of it", func() bool {
		out, _ := m.try(journal + " -u 'postfix*'")
		return strings.Contains(out, "Verified TLS connection established to mx1.partner.test[") &&
			strings.Contains(out, "to=<user@partner.test>")
	})
	sent := 1
	if testkit.All() {
		m.rotate(t, domain, mx)
		sent++
	} else {
		testkit.Shorter(t, "the CA of a domain's hosts is another")
	}
	want := regexp.MustCompile(fmt.Sprintf(`sent, verified +%d\n`, sent))
	testkit.Eventually(t, testkit.Hang, shown[2]+" to print "+want.String(), func() bool { // the journal may be late
		return want.MatchString(m.run(t, shown[2]))
	})
	if out := m.run(t, shown[3]); !strings.Contains(out, "healthy") {
		t.Errorf("%s:\n%s", shown[3], out)
	}
	m.run(t, "stsmapd cache forget partner.test && stsmapd warm --maillog")
	if out := m.run(t, "stsmapd cache list"); !strings.Contains(out, "partner.test") {
		t.Errorf("after warm --maillog, stsmapd cache list:\n%s", out)
	}
	m.quiet(t, since)
}

// turnOn does what README.md says of main.cf.
func (m *machine) turnOn(t *testing.T) {
	t.Helper()
	var settings, commands []string
	for _, line := range readme(t, "Turn it on", "") {
		if strings.Contains(line, " = ") {
			settings = append(settings, line)
		} else {
			commands = append(commands, line)
		}
	}
	if len(settings) != 4 || len(commands) != 1 {
		t.Fatalf("README.md has the lines %q for main.cf, and the commands %q", settings, commands)
	}
	for _, setting := range settings {
		m.run(t, "postconf -e '"+setting+"'")
	}
	m.run(t, "stsmapd postfix --apply --yes && "+commands[0])
	if out, err := m.try("stsmapd postfix"); err != nil {
		t.Errorf("after stsmapd postfix --apply: %v\n%s", err, out)
	}
}

// quiet tests that the daemon's journal since a time has no warnings, nothing that was denied, and its priorities.
func (m *machine) quiet(t *testing.T, since string) {
	t.Helper()
	journal := "journalctl -q --no-pager -o cat -u stsmapd --since @" + since
	// These tests cannot raise the limit of open files; resolv.conf was empty a moment before, and no DNS server
	// answers after a boot; in the tests of another CA a certificate cannot be verified.
	out := m.run(t, journal+" -p warning | "+
		"grep -v -e event=nofile_low -e event=resolv_conf -e event=host_fault -e 'unknown authority' || true")
	if regexp.MustCompile(`(?i)level=|denied|not permitted`).MatchString(out) {
		t.Errorf("the journal has warnings:\n%s", out)
	}
	m.want(t, journal+" -p 6..6 | grep -o event=ready | sort -u", "event=ready") // its priority is info
}

// delivered is the answer for the domain of deliver.
const delivered = "secure match=mx1.partner.test:.example.net servername=hostname"

// rotate gives the hosts of the domain certificates of another CA. The policy stays in force while this host does not
// know that CA; then the CA takes the place of the former one, by Debian's tool alone.
func (m *machine) rotate(t *testing.T, domain *world.Domain, mx *world.MXHost) {
	next, err := world.NewCA("The next CA")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.shared, "next.pem"), next.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	domain.Policy.SetCertificate(world.Certificate(t)(next.Issue(domain.PolicyName())))
	mx.SetCertificate(world.Certificate(t)(next.Issue(mx.Name)))
	out, err := m.try("stsmapd cache refresh partner.test")
	if err == nil || !strings.Contains(out, "unknown authority") {
		t.Errorf("a refresh from a host whose CA is unknown: %v\n%s", err, out)
	}
	m.want(t, "postmap -q partner.test "+byTCP, delivered)
	m.run(t, `cd /usr/local/share/ca-certificates && rm world.crt && cp /test/next.pem next.crt &&
		update-ca-certificates && postfix reload`)
	testkit.Eventually(t, testkit.Hang, "the policy by the next CA", func() bool {
		_, err := m.try("stsmapd cache refresh partner.test")
		return err == nil
	})
	m.run(t, "printf 'Subject: second\n\ntext\n' | sendmail -f root@host.example.test user@partner.test")
	testkit.Eventually(t, testkit.Hang, "a delivery by the next CA", func() bool { return len(mx.Messages()) == 2 })
}

// reload reloads good and bad settings: bad ones change nothing and fail, with the line.
func (m *machine) reload(t *testing.T) {
	m.run(t, "systemctl reload stsmapd")
	pid := m.run(t, "systemctl show -P MainPID stsmapd")
	m.run(t, "cp /etc/stsmapd/stsmapd.toml /test/good.toml && echo 'lisen = []' >/etc/stsmapd/stsmapd.toml")
	m.fails(t, "the settings are wrong", "systemctl reload stsmapd")
	m.want(t, "systemctl is-active stsmapd && systemctl show -P MainPID stsmapd", "active\n"+pid)
	m.want(t, "postmap -q partner.test "+byTCP, delivered)
	if !strings.Contains(m.journal(), "stsmapd.toml:1: ") {
		t.Errorf("the journal does not name the line:\n%s", m.journal())
	}
	m.run(t, "cp /test/good.toml /etc/stsmapd/stsmapd.toml && systemctl reload stsmapd")
}

// bootOrder boots the system: stsmapd starts by itself with its policies, and is ready before the mail servers start.
// Without `make test-all` it only starts what a boot starts, in systemd's order.
func (m *machine) bootOrder(t *testing.T) {
	for _, unit := range []string{"postfix.service", "sendmail.service"} {
		m.want(t, "systemctl show -P Before stsmapd | tr ' ' '\\n' | grep -cx "+unit, "1")
	}
	m.run(t, "systemctl disable stsmapd.socket stsmapd-chroot.socket")
	if testkit.All() {
		const domains = "cat /etc/machine-id && stsmapd cache list | awk '{ print $1 }'"
		before := m.run(t, domains)
		m.quiet(t, m.reboot(t))
		m.want(t, domains, before)
	} else {
		testkit.Shorter(t, "a reboot")
		m.run(t, "systemctl stop postfix stsmapd.socket stsmapd-chroot.socket stsmapd && "+
			"systemctl start multi-user.target")
	}
	m.want(t, "systemctl is-active stsmapd postfix", "active\nactive")
	m.want(t, "postmap -q partner.example "+byTCP+" && postmap -q kept.example "+byTCP, partner+"\n"+kept)
	m.readyBefore(t, "postfix.service")
	m.run(t, "systemctl stop stsmapd && systemctl enable --now stsmapd-chroot.socket && systemctl start stsmapd")
}

// readyBefore tests that stsmapd was ready before this mail server began to start.
func (m *machine) readyBefore(t *testing.T, server string) {
	t.Helper()
	times := strings.Fields(m.run(t, "systemctl show -P ActiveEnterTimestampMonotonic stsmapd; "+
		"systemctl show -P InactiveExitTimestampMonotonic "+server))
	ready, err := strconv.Atoi(times[0])
	starts, err2 := strconv.Atoi(times[1])
	if err != nil || err2 != nil || ready > starts {
		t.Errorf("stsmapd was ready at, and %s began to start at, these microseconds: %q", server, times)
	}
}

// TestSendmailOrder boots a system with Debian 13's Sendmail and stsmapd.
func TestSendmailOrder(t *testing.T) {
	t.Parallel()
	testkit.AllOnly(t, "a boot with Sendmail")
	p := shared(t)
	m := boot(t, "debian-13-sendmail")
	m.copy(t, p.file(t, "*_"+runtime.GOARCH+".deb"), "stsmapd.deb")
	for _, name := range []string{"ca-certificates", "openssl"} { // what stsmapd's package depends on
		archives := filepath.Join(testkit.Folder(t, "debian-13-base"), "var/cache/apt/archives")
		found, err := filepath.Glob(filepath.Join(archives, name+"_*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("the packages %s of debian-13-base: %q, %v", name, found, err)
		}
		m.copy(t, found[0], name+".deb")
	}
	m.run(t, "apt-get -q -y install /test/*.deb && systemctl enable sendmail")
	booted := m.reboot(t)
	m.want(t, "systemctl is-active stsmapd sendmail", "active\nactive")
	m.readyBefore(t, "sendmail.service")
	m.quiet(t, booted)
}
