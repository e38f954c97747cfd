package install

import (
	"os/exec"
	"regexp"
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
		mx = domain.AddEnforcedMX(t)
	})
	m.run(t, `cp /test/ca.pem /usr/local/share/ca-certificates/world.crt && update-ca-certificates
		echo nameserver 127.0.0.1 >/etc/resolv.conf
		printf '[fetch]\nallow_private_addresses = true\n' >/etc/stsmapd/stsmapd.toml`)
	since := strings.TrimSpace(m.run(t, "date +%s"))
	m.run(t, "systemctl restart stsmapd postfix") // for resolv.conf in Postfix's chroot
	// README.md: the lines for main.cf, and "postfix reload".
	lines := regexp.MustCompile(`(?m)^    (smtp_tls_\w+ = .*)$`).FindAllStringSubmatch(
		readText(t, "../../../../README.md"), -1)
	if len(lines) != 4 {
		t.Fatalf("README.md has the lines %q for main.cf", lines)
	}
	for _, line := range lines {
		m.run(t, "postconf -e '"+line[1]+"'")
	}
	m.run(t, "stsmapd postfix --apply --yes && postfix reload")
	if out, err := m.try("stsmapd postfix"); err != nil {
		t.Errorf("after stsmapd postfix --apply: %v\n%s", err, out)
	}
	m.want(t, "postmap -q partner.test "+byTCP, "secure match=mx1.partner.test servername=hostname")
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
	if out := m.run(t, "stsmapd deliveries"); !regexp.MustCompile(`sent, verified +1\n`).MatchString(out) {
		t.Errorf("stsmapd deliveries:\n%s", out)
	}
	m.run(t, "stsmapd cache forget partner.test && stsmapd warm --maillog")
	if out := m.run(t, "stsmapd cache list"); !strings.Contains(out, "partner.test") {
		t.Errorf("after warm --maillog, stsmapd cache list:\n%s", out)
	}
	// These tests cannot raise the limit of open files; resolv.conf was empty a moment before.
	out := m.run(t, journal+" -p warning -u stsmapd | grep -v -e event=nofile_low -e event=resolv_conf || true")
	if regexp.MustCompile(`(?i)level=|denied|not permitted`).MatchString(out) {
		t.Errorf("the journal has warnings after a delivery:\n%s", out)
	}
	m.want(t, journal+" -p 6..6 -u stsmapd | grep -o event=ready | sort -u", "event=ready") // its priority is info
}

// reload reloads good and bad settings: bad ones change nothing and fail, with the line.
func (m *machine) reload(t *testing.T) {
	m.run(t, "systemctl reload stsmapd")
	pid := m.run(t, "systemctl show -P MainPID stsmapd")
	m.run(t, "cp /etc/stsmapd/stsmapd.toml /test/good.toml && echo 'lisen = []' >/etc/stsmapd/stsmapd.toml")
	m.fails(t, "the settings are wrong", "systemctl reload stsmapd")
	m.want(t, "systemctl is-active stsmapd && systemctl show -P MainPID stsmapd", "active\n"+pid)
	m.want(t, "postmap -q partner.test "+byTCP, "secure match=mx1.partner.test servername=hostname")
	if !strings.Contains(m.journal(), "stsmapd.toml:1: ") {
		t.Errorf("the journal does not name the line:\n%s", m.journal())
	}
	m.run(t, "cp /test/good.toml /etc/stsmapd/stsmapd.toml && systemctl reload stsmapd")
}

// bootOrder starts what a boot starts, in systemd's order: stsmapd is ready before the mail servers start.
func (m *machine) bootOrder(t *testing.T) {
	for _, unit := range []string{"postfix.service", "sendmail.service"} {
		m.want(t, "systemctl show -P Before stsmapd | tr ' ' '\\n' | grep -cx "+unit, "1")
	}
	m.run(t, `systemctl stop postfix stsmapd.socket stsmapd-chroot.socket stsmapd
		systemctl disable stsmapd.socket stsmapd-chroot.socket
		systemctl start multi-user.target`)
	m.want(t, "systemctl is-active stsmapd postfix", "active\nactive")
	m.want(t, "postmap -q partner.example "+byTCP, partner)
	times := strings.Fields(m.run(t, "systemctl show -P ActiveEnterTimestampMonotonic stsmapd; "+
		"systemctl show -P InactiveExitTimestampMonotonic postfix"))
	ready, err := strconv.Atoi(times[0])
	starts, err2 := strconv.Atoi(times[1])
	if err != nil || err2 != nil || ready > starts {
		t.Errorf("stsmapd was ready at, and Postfix began to start at, these microseconds: %q", times)
	}
	m.run(t, "systemctl stop stsmapd && systemctl enable --now stsmapd-chroot.socket && systemctl start stsmapd")
}
