package install

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// settings is the configuration that the tests use: a question about partner.example needs no network.
const settings = `metrics = "127.0.0.1:9461"
[dns]
servers = ["127.0.0.1:1"]
[[override]]
domain = "partner.example"
action = "enforce"
mx = ["mail.partner.example"]
`

// What is answered for partner.example, and for the policy that the test puts into the store.
const (
	partner = "secure match=mail.partner.example servername=hostname"
	kept    = "secure match=mx.kept.example servername=hostname"
)

// The maps of main.cf, as postmap is to be asked for them outside of the chroot.
const (
	byTCP  = "socketmap:inet:127.0.0.1:8461:sts"
	byUnix = "socketmap:unix:/var/spool/postfix/stsmapd/socketmap:sts"
)

// TestInstall installs the package on a fresh Debian, uses it, upgrades it, and removes it.
func TestInstall(t *testing.T) {
	for _, release := range []string{"12", "13", "sid"} {
		t.Run("Debian "+release, func(t *testing.T) {
			t.Parallel()
			p := shared(t)
			m := boot(t, "debian-"+release+"-base")
			// One after the other, on the same system: the steps of an administrator.
			for _, step := range []struct {
				name string
				do   func(*machine, *testing.T)
			}{
				{"install beside another daemon", func(m *machine, t *testing.T) { m.beside(t, p) }},
				{"install", func(m *machine, t *testing.T) { m.install(t, p) }},
				{"files", (*machine).fileModes},
				{"unit", (*machine).unit},
				{"sandbox", (*machine).sandbox},
				{"deliver", (*machine).deliver},
				{"reload", (*machine).reload},
				{"use", (*machine).use},
				{"summary", (*machine).summary},
				{"certificates", (*machine).certificates},
				{"certificates by RPM", (*machine).certificatesByRPM},
				{"wrong configuration", (*machine).wrongConfiguration},
				{"restarts", (*machine).restarts},
				{"theft", (*machine).theft},
				{"released", (*machine).released},
				{"password", (*machine).password},
				{"documents", (*machine).documents},
				{"sockets", (*machine).sockets},
				{"upgrade", func(m *machine, t *testing.T) { m.upgrade(t, p) }},
				{"boot order", (*machine).bootOrder},
				{"apart", (*machine).apart},
				{"remove", (*machine).remove},
			} {
				if !t.Run(step.name, func(t *testing.T) { step.do(m, t) }) {
					t.Logf("the journal after step %q:\n%s", step.name, m.journal())
				}
			}
		})
	}
}

// journal returns what the daemon has logged.
func (m *machine) journal() string {
	out, _ := m.try("journalctl --no-pager -o cat -u stsmapd")
	return out
}

// beside installs the package where another daemon has the port, and purges it.
func (m *machine) beside(t *testing.T, p product) {
	deb := p.file(t, "*_"+runtime.GOARCH+".deb")
	m.copy(t, deb, "stsmapd_first.deb")
	m.copy(t, deb, filepath.Base(deb))
	m.run(t, `echo '#!/usr/bin/perl
			use IO::Socket::INET;
			$s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8461, Listen => 9) or die;
			sleep 1 while 1' >/usr/local/bin/mta-sts-daemon && chmod +x /usr/local/bin/mta-sts-daemon
		systemd-run --quiet --unit=other /usr/local/bin/mta-sts-daemon`)
	testkit.Eventually(t, testkit.Hang, "the other daemon to listen", func() bool {
		out, _ := m.try("grep -c :210D /proc/net/tcp")
		return strings.TrimSpace(out) == "1"
	})
	pid := strings.TrimSpace(m.run(t, "systemctl show -P MainPID other"))
	install := regexp.MustCompile(`(?m)^    apt-get install \./.*$`).FindString(readText(t, "../../../../README.md"))
	out := m.run(t, "apt-get -q -y install postfix && cd /test && "+
		strings.NewReplacer("install", "-q -y install", "amd64", runtime.GOARCH).Replace(install))
	want := "\nstsmapd: NOT started: mta-sts-daemon (process " + pid + ") listens on 127.0.0.1:8461 already."
	last := out[max(0, strings.LastIndex(out, "\nstsmapd:")):]
	if !strings.HasPrefix(last, want) || !strings.Contains(last, "\n    systemctl enable --now stsmapd\n") {
		t.Errorf("apt-get says:\n%s", out)
	}
	m.want(t, "systemctl is-enabled stsmapd; systemctl is-active stsmapd other", "disabled\ninactive\nactive")
	m.want(t, "journalctl -q --no-pager -o cat -u stsmapd", "")
	m.run(t, "systemctl stop other && systemctl enable --now stsmapd && stsmapd query --health")
	m.run(t, "apt-get -q -y purge stsmapd")
}

// install installs the package from the apt repository, by the commands of packaging/docs/install.md.
func (m *machine) install(t *testing.T, p product) {
	m.serve(t, "127.0.0.1:80", filepath.Join(p.release, "apt"))
	begin := time.Now()
	out := m.run(t, documented(t, "install.md", "https://packages.example.com/", "http://127.0.0.1/"))
	t.Logf("apt-get install took %v", time.Since(begin).Round(time.Second))
	if !strings.Contains(out, "\n    smtp_tls_policy_maps = "+byTCP+"\n") {
		t.Errorf("apt-get does not say what to add to main.cf:\n%s", out)
	}
	m.want(t, "grep -c -e socketmap -e stsmapd /etc/postfix/main.cf || true", "0")
	m.want(t, "systemctl is-enabled stsmapd.service", "enabled")
	m.want(t, "systemctl is-active stsmapd.service postfix.service", "active\nactive")
	m.want(t, "systemctl is-enabled stsmapd.socket stsmapd-chroot.socket || true", "disabled\ndisabled")
}

// copy puts a file into the system's /test.
func (m *machine) copy(t *testing.T, from, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.shared, name), []byte(readText(t, from)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) fileModes(t *testing.T) {
	m.want(t, `dpkg -L stsmapd | while read -r f; do [ -d "$f" ] || stat -c '%a %U:%G %n' "$f"; done | sort -k 3`,
		readText(t, "testdata/files.txt"))
	m.want(t, "stat -c '%A %U:%G %n' /etc/stsmapd /var/lib/stsmapd /var/lib/stsmapd/policies.db /run/stsmapd "+
		"/run/stsmapd/control.sock",
		`drwxr-xr-x root:root /etc/stsmapd
drwx------ stsmapd:stsmapd /var/lib/stsmapd
-rw------- stsmapd:stsmapd /var/lib/stsmapd/policies.db
drwxr-xr-x stsmapd:stsmapd /run/stsmapd
srw-rw---- stsmapd:stsmapd /run/stsmapd/control.sock`)
	m.want(t, "getent passwd stsmapd | cut -d: -f 5-", "MTA-STS for Postfix:/var/lib/stsmapd:/usr/sbin/nologin")
	m.want(t, "dpkg --verify stsmapd", "")
}

// sandbox looks at the process that systemd has made of ExecStart.
func (m *machine) sandbox(t *testing.T) {
	m.want(t, `pid=$(systemctl show -P MainPID stsmapd)
		[ "$(stat -c %U:%G /proc/$pid)" = stsmapd:stsmapd ] && echo own user
		grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/$pid/status | tr '\t' ' '
		[ "$(readlink /proc/$pid/ns/user)" = "$(readlink /proc/1/ns/user)" ] || echo own users`,
		"own user\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\nown users")
	m.want(t, `tr '\0' ' ' </proc/$(systemctl show -P MainPID stsmapd)/cmdline`, "/usr/bin/stsmapd serve")
}

// use configures the daemon and asks it as Postfix does.
func (m *machine) use(t *testing.T) {
	m.run(t, "systemctl stop stsmapd")
	m.seed(t)
	if err := os.WriteFile(filepath.Join(m.shared, "stsmapd.toml"), []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run(t, "cp /test/stsmapd.toml /etc/stsmapd/stsmapd.toml && systemctl start stsmapd")
	m.want(t, "postmap -q partner.example "+byTCP, partner)
	m.want(t, "postmap -q kept.example "+byTCP, kept)
	m.fails(t, "nobody can have this domain", "postmap -q nobody.invalid "+byTCP)
	m.want(t, "stsmapd query partner.example && stsmapd query --health", partner)
	// How long mail waits for a daemon that hangs: until the watchdog's time is over, and the abort's.
	m.want(t, "systemctl show -P WatchdogUSec stsmapd && systemctl show -P TimeoutAbortUSec stsmapd", "30s\n5s")
	m.want(t, "stsmapd cache list --json | wc -l", "1")
	// What the network would be asked for fails for want of a network, not of rights.
	if out, _ := m.try("stsmapd cache refresh new.example"); !strings.Contains(out, "connection refused") {
		t.Errorf("the daemon cannot ask the DNS: %s", out)
	}
	metrics := m.run(t,
		`bash -c 'exec 3<>/dev/tcp/127.0.0.1/9461; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3'`)
	for _, want := range []string{
		"\nstsmapd_ca_roots_loaded 1", "\nprocess_start_time_seconds ", "\nprocess_open_fds "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	// 2: it cannot be asked; 1: it says what it lacks, here a DNS server.
	m.want(t, `runuser -u nobody -- stsmapd status >/dev/null 2>&1
		echo $?
		usermod -aG stsmapd games
		runuser -u games -- stsmapd status >/dev/null
		echo $?`, "2\n1")
}

// summary enables the weekly summary and runs it, by mail too, where only the journal has the mail log.
func (m *machine) summary(t *testing.T) {
	m.want(t, "systemctl is-enabled stsmapd-summary.timer || true", "disabled")
	m.run(t, "systemctl enable --now stsmapd-summary.timer")
	m.want(t, "systemctl list-timers --no-legend | grep -c stsmapd-summary.service", "1")
	m.run(t, "echo test | sendmail user@nowhere.invalid")
	testkit.Eventually(t, testkit.Hang, "Postfix's attempt to deliver a mail", func() bool {
		out, _ := m.try("journalctl --no-pager -o cat -u 'postfix*'")
		return strings.Contains(out, "to=<user@nowhere.invalid>")
	})
	m.want(t, "ls /var/log/mail.log 2>/dev/null || echo none", "none")
	m.run(t, `mkdir -p /etc/systemd/system/stsmapd-summary.service.d
		printf '[Service]\nEnvironment=MAILTO=root\n' >/etc/systemd/system/stsmapd-summary.service.d/mail.conf
		systemctl daemon-reload && systemctl start stsmapd-summary.service`)
	m.want(t, "journalctl --no-pager -o cat -u stsmapd-summary.service | grep -c '^mail to 2 domains, '", "1")
	testkit.Eventually(t, testkit.Hang, "the summary by mail", func() bool {
		out, _ := m.try("cat /var/mail/root")
		return strings.Contains(out, ": no mail waits because of a policy\n") &&
			strings.Contains(out, "\nmail to 2 domains, ") && strings.Contains(out, "\nstsmapd ")
	})
	m.run(t, "rm -r /etc/systemd/system/stsmapd-summary.service.d && systemctl daemon-reload")
}

// seed puts a policy into the store, as root, for the daemon's user.
func (m *machine) seed(t *testing.T) {
	t.Helper()
	m.store(t)
	m.run(t, `cd /var/lib/stsmapd && rm -f policies.* &&
		install -o stsmapd -g stsmapd -m 600 /test/policies.db policies.db`)
}

// store makes a store with a policy in the system's /test.
func (m *machine) store(t *testing.T) {
	t.Helper()
	policy, err := mtasts.ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: mx.kept.example\nmax_age: 604800\n"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := store.Open(filepath.Join(m.shared, "policies.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	e := resolver.Entry{Domain: dnsname.MustParse("kept.example"), ID: "1", Policy: policy, Fetched: now, Checked: now,
		Used: now}
	if err := store.Put(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// reloads is how often the daemon has read its configuration and the CA certificates again.
func (m *machine) reloads() int { return strings.Count(m.journal(), "event=reloaded") }

// certificates changes Debian's CA certificates.
func (m *machine) certificates(t *testing.T) {
	before := m.run(t, "systemctl show -P MainPID stsmapd")
	already := m.reloads() // apt-get may have Debian's certificates put in place last
	m.run(t, "openssl req -x509 -newkey rsa:2048 -nodes -subj '/CN=A new CA' -keyout /dev/null -out "+
		"/usr/local/share/ca-certificates/new.crt && update-ca-certificates")
	testkit.Eventually(t, testkit.Hang, "the reload that update-ca-certificates asks for",
		func() bool { return m.reloads() == already+1 })
	m.want(t, "systemctl show -P MainPID stsmapd", before)
	m.run(t, "systemctl reload stsmapd") // returns when the daemon says that it is done
	testkit.Eventually(t, testkit.Hang, "the journal's line about it", func() bool { return m.reloads() == already+2 })
}

// certificatesByRPM tries the units that the RPM has for this, with a file where systems with RPMs have their
// certificates.
func (m *machine) certificatesByRPM(t *testing.T) {
	for _, name := range []string{"stsmapd-roots.path", "stsmapd-roots.service", "roots.conf"} {
		m.copy(t, "../../../../packaging/rpm/"+name, name)
	}
	m.run(t, `cd /etc/systemd/system && cp /test/stsmapd-roots.* . && mkdir stsmapd.service.d &&
			cp /test/roots.conf stsmapd.service.d/
		mkdir -p /etc/pki/ca-trust/extracted/pem &&
			cp /etc/ssl/certs/ca-certificates.crt /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
		systemctl daemon-reload && systemctl restart stsmapd`)
	m.verify(t, "stsmapd-roots.path stsmapd-roots.service stsmapd.service")
	m.want(t, "systemctl is-active stsmapd-roots.path", "active")
	already := m.reloads()
	m.run(t, "cd /etc/pki/ca-trust/extracted/pem && cp tls-ca-bundle.pem new && mv new tls-ca-bundle.pem")
	testkit.Eventually(t, testkit.Hang, "the reload that systemd asks for",
		func() bool { return m.reloads() == already+1 })
	m.run(t, "systemctl stop stsmapd-roots.path; rm -r /etc/systemd/system/stsmapd*; systemctl daemon-reload")
}

// sockets enables the socket units, and has the daemon started again under load.
func (m *machine) sockets(t *testing.T) {
	m.run(t, "systemctl stop stsmapd && systemctl enable --now stsmapd-chroot.socket && systemctl start stsmapd")
	m.want(t, "stat -c '%A %U:%G %n' /var/spool/postfix/stsmapd /var/spool/postfix/stsmapd/socketmap",
		"drwxr-xr-x root:root /var/spool/postfix/stsmapd\nsrw-rw-rw- root:root /var/spool/postfix/stsmapd/socketmap")
	for _, name := range []string{
		"name=inet listen=inet:127.0.0.1:8461", "name=chroot listen=unix:/var/spool/postfix/stsmapd/socketmap"} {
		if !strings.Contains(m.journal(), "event=activated "+name) {
			t.Errorf("not activated: %s", name)
		}
	}
	m.want(t, "postmap -q partner.example "+byUnix, partner)
	m.run(t, "install -m 755 /usr/bin/stsmapd /var/spool/postfix/client")
	m.want(t, "chroot --userspec=$(id -u postfix):$(id -g postfix) --groups= /var/spool/postfix /client query "+
		"--connect unix:/stsmapd/socketmap partner.example", partner)
	// postmap asks once, and fails where its connection is closed, so each opens a new one: none may be refused.
	var asking sync.WaitGroup
	for _, table := range []string{byTCP, byUnix} {
		asking.Go(func() {
			out, err := m.try(`for i in $(seq 150); do [ "$(postmap -q partner.example ` + table + ` 2>&1)" = "` +
				partner + `" ] || echo lost $i; done`)
			if lost := strings.Count(out, "lost"); err != nil || lost > 3 {
				t.Errorf("%d questions by %s were not answered: %v\n%s", lost, table, err, out)
			}
		})
	}
	m.run(t, "for i in 1 2 3; do systemctl restart stsmapd; done")
	asking.Wait()
	m.run(t, "systemctl stop stsmapd")
	m.want(t, "postmap -q partner.example "+byUnix, partner) // starts it; it answers, and then says that it is ready
	testkit.Eventually(t, testkit.Hang, "the unit to be active", func() bool {
		state, _ := m.try("systemctl is-active stsmapd")
		return state == "active\n"
	})
}

// upgrade installs a later version over the first.
func (m *machine) upgrade(t *testing.T, p product) {
	before := strings.TrimSpace(m.run(t, "systemctl show -P MainPID stsmapd"))
	m.copy(t, p.later, "stsmapd_later.deb")
	out := m.run(t, "apt-get -q -y install /test/stsmapd_later.deb")
	if strings.Contains(out, "smtp_tls_policy_maps") {
		t.Errorf("an upgrade says what to add to main.cf:\n%s", out)
	}
	if after := strings.TrimSpace(m.run(t, "systemctl show -P MainPID stsmapd")); after == before || after == "0" {
		t.Errorf("the daemon was process %s, and is process %s after the upgrade", before, after)
	}
	m.want(t, "dpkg-query -W -f '${Version}' stsmapd", "99.0.0-1")
	m.want(t, "systemctl is-active stsmapd.service stsmapd.socket stsmapd-chroot.socket", "active\nactive\nactive")
	m.want(t, "postmap -q partner.example "+byTCP+" && postmap -q kept.example "+byUnix, partner+"\n"+kept)
	m.want(t, "cmp /etc/stsmapd/stsmapd.toml /test/stsmapd.toml && echo the same", "the same")
}

// apart tests that neither Postfix nor stsmapd needs the other.
func (m *machine) apart(t *testing.T) {
	m.run(t, "systemctl stop stsmapd-chroot.socket stsmapd.socket stsmapd.service && systemctl restart postfix")
	m.want(t, "systemctl is-active postfix.service", "active")
	m.run(t, "systemctl stop postfix && systemctl start stsmapd")
	m.want(t, "systemctl is-active stsmapd.service", "active")
	m.run(t, "systemctl start postfix")
}

// remove removes the package, and then purges it.
func (m *machine) remove(t *testing.T) {
	m.run(t, "systemctl stop stsmapd")
	testkit.Eventually(t, testkit.Hang, "systemd to close the socket that it kept", func() bool { // a little later
		out, _ := m.try("grep -c ':210D 00000000:0000 0A' /proc/net/tcp")
		return strings.TrimSpace(out) == "0"
	})
	m.run(t, "systemctl start stsmapd-chroot.socket stsmapd.service")
	m.run(t, `postconf -e 'smtp_tls_policy_maps = texthash:/etc/postfix/a, socketmap:unix:/stsmapd/socketmap:sts' &&
		postconf -P smtp/unix/smtp_tls_policy_maps=`+byTCP)
	before := strings.TrimSpace(m.run(t, "date +%s"))
	out := m.run(t, "apt-get -q -y remove stsmapd")
	if want := `
    postconf -e 'smtp_tls_policy_maps = texthash:/etc/postfix/a'
    postconf -P 'smtp/unix/smtp_tls_policy_maps = '
    postfix reload
`; !strings.Contains(out, "stsmapd: WARNING: Postfix still asks stsmapd") || !strings.Contains(out, want) {
		t.Errorf("apt-get remove says:\n%s", out)
	}
	// There is no DNS, which each start says.
	m.want(t, "journalctl -q --no-pager -o cat -p err -u 'stsmapd*' --since @"+before+
		" | grep -v event=host_fault || true", "")
	m.run(t, strings.Join(regexp.MustCompile("(?m)^    post.*$").FindAllString(out, -1), "\n")) // as typed
	m.want(t, "postconf -h smtp_tls_policy_maps && postconf -P | grep -c sts || true", "texthash:/etc/postfix/a\n0")
	m.want(t, "systemctl is-active stsmapd.service stsmapd.socket stsmapd-chroot.socket stsmapd-summary.timer || true",
		"inactive\ninactive\ninactive\ninactive")
	m.want(t, "ls -d /usr/bin/stsmapd /etc/stsmapd/stsmapd.toml /var/lib/stsmapd/policies.db 2>/dev/null || true",
		"/etc/stsmapd/stsmapd.toml\n/var/lib/stsmapd/policies.db")
	m.run(t, "update-ca-certificates --fresh") // with the hook that is still there
	m.run(t, "apt-get -q -y purge stsmapd")
	m.want(t, "ls -d /etc/stsmapd /etc/ca-certificates/update.d/stsmapd /var/lib/stsmapd /run/stsmapd "+
		"/var/spool/postfix/stsmapd /etc/systemd/system/*/stsmapd* 2>/dev/null || true", "")
	m.want(t, "dpkg -l stsmapd >/dev/null 2>&1 || echo gone; getent passwd stsmapd >/dev/null && echo the user stays",
		"gone\nthe user stays")
	m.want(t, "systemctl is-active postfix.service", "active")
}
