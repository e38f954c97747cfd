package install

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// ask is a shell script that asks about partner.example until /test/enough is there, each time on a new connection. It
// prints what each question got that was not answered as it should.
const ask = `ask() {
	while [ ! -e /test/enough ]; do
		got=$(postmap -q partner.example ` + byTCP + ` 2>&1)
		echo >>/test/asked
		case $got in
		'` + partner + `') ;;
		'') echo "wrong: no policy" ;;
		*refused*) echo "refused: $got" ;;
		*) echo "closed: $got" ;;
		esac
	done
}
ask & ask & ask & ask &
wait
echo "asked $(wc -l </test/asked)"`

// underQuestions runs do while questions are asked: none may be refused or answered wrong. Connections that a process
// has accepted and that end with it are closed without an answer; Postfix's smtp(8) then asks again.
func (m *machine) underQuestions(t *testing.T, do func()) {
	t.Helper()
	for _, name := range []string{"enough", "asked"} {
		if err := os.RemoveAll(filepath.Join(m.shared, name)); err != nil {
			t.Fatal(err)
		}
	}
	var out string
	asked := make(chan error, 1)
	go func() {
		var err error
		out, err = m.try(ask)
		asked <- err
	}()
	func() {
		defer func() {
			if err := os.WriteFile(filepath.Join(m.shared, "enough"), nil, 0o644); err != nil {
				t.Error(err)
			}
		}()
		m.moreAsked(t)
		do()
		m.moreAsked(t)
	}()
	if err := <-asked; err != nil {
		t.Fatal(err, out)
	}
	refused, wrong, closed := strings.Count(out, "refused: "), strings.Count(out, "wrong: "),
		strings.Count(out, "closed: ")
	t.Logf("%s: %d refused, %d wrong, %d closed", out[strings.LastIndex(out, "asked "):len(out)-1], refused, wrong,
		closed)
	if refused+wrong > 0 || closed > 8 { // of 4 connections at a time
		t.Error(out)
	}
}

// moreAsked waits until ten more questions have been answered.
func (m *machine) moreAsked(t *testing.T) {
	t.Helper()
	number := func() int64 {
		file, err := os.Stat(filepath.Join(m.shared, "asked"))
		if err != nil {
			return 0
		}
		return file.Size()
	}
	before := number()
	testkit.Eventually(t, testkit.Hang, "more questions", func() bool { return number() >= before+10 })
}

// override writes a drop-in for the unit, and removes it with an empty text.
func (m *machine) override(t *testing.T, service string) {
	t.Helper()
	dir := "/etc/systemd/system/stsmapd.service.d"
	script := "rm -rf " + dir
	if service != "" {
		script = "mkdir -p " + dir + " && printf '[Service]\\n" + service + "' >" + dir + "/test.conf"
	}
	m.run(t, script+" && systemctl daemon-reload")
}

// restarts ends the daemon in each way, under questions, with the addresses of `listen`.
func (m *machine) restarts(t *testing.T) {
	process := func() string { return strings.TrimSpace(m.run(t, "systemctl show -P MainPID stsmapd")) }
	replaced := func(before string) {
		testkit.Eventually(t, testkit.Hang, "another process of the daemon that is ready", func() bool {
			active, _ := m.try("systemctl is-active stsmapd")
			return process() != before && strings.TrimSpace(active) == "active"
		})
	}
	m.override(t, "WatchdogSec=3s\\n")
	m.run(t, "systemctl restart stsmapd")
	for _, c := range []struct{ name, script string }{
		{"restart", "systemctl restart stsmapd"},
		{"crash", "systemctl kill -s KILL stsmapd"},
		{"watchdog", "systemctl kill -s STOP stsmapd"}, // a process that hangs, as nothing else replaces it
		{"upgrade", "dpkg -i --force-confold /test/stsmapd_first.deb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.underQuestions(t, func() {
				before := process()
				m.run(t, c.script)
				replaced(before)
			})
		})
	}
	m.override(t, "")
	m.run(t, "systemctl restart stsmapd")
}

// bind binds the daemon's address, as another user could who wants to answer in its place.
const bind = `runuser -u games -- perl -MIO::Socket::INET -e 'IO::Socket::INET->new(LocalAddr => "127.0.0.1",
	LocalPort => 8461, Listen => 1, ReuseAddr => 1) or die "bind: $!\n"'`

// theft tries to take the daemon's port between its end and its next start.
func (m *machine) theft(t *testing.T) {
	aborted := func() {
		m.run(t, "systemctl restart stsmapd && systemctl kill -s ABRT stsmapd")
		testkit.Eventually(t, testkit.Hang, "the end of the daemon", func() bool {
			return strings.TrimSpace(m.run(t, "systemctl show -P SubState stsmapd")) == "auto-restart"
		})
	}
	m.override(t, "RestartSec=10min\\n")
	aborted()
	if out, err := m.try(bind); err == nil || !strings.Contains(out, "Address already in use") {
		t.Errorf("another user binds the port of a daemon that has crashed: %v\n%s", err, out)
	}
	m.override(t, "RestartSec=10min\\nFileDescriptorStoreMax=0\\n")
	m.run(t, "systemctl stop stsmapd")
	aborted()
	m.run(t, bind) // without the store the port is free: the test can fail
	m.override(t, "")
	m.run(t, "systemctl restart stsmapd")
	m.want(t, "postmap -q partner.example "+byTCP, partner)
}

// released changes `listen`: the former address is closed, and the next one open.
func (m *machine) released(t *testing.T) {
	m.run(t, `sed -i '1i listen = ["inet:127.0.0.1:8462"]' /etc/stsmapd/stsmapd.toml && systemctl restart stsmapd`)
	m.want(t, "stsmapd query partner.example --connect inet:127.0.0.1:8462", partner)
	if out, err := m.try("postmap -q partner.example " + byTCP); err == nil || !strings.Contains(out, "refused") {
		t.Errorf("the former address: %v\n%s", err, out)
	}
	m.run(t, bind)
	m.run(t, "cp /test/stsmapd.toml /etc/stsmapd/stsmapd.toml && systemctl restart stsmapd")
	m.want(t, "postmap -q partner.example "+byTCP, partner)
}

// password gives the daemon the password of a shared engine, first where it may not read it.
func (m *machine) password(t *testing.T) {
	m.run(t, `printf '[shared]\nurl = "valkey://127.0.0.1:1"\npassword_file = "/etc/stsmapd/shared-password"\n' \
			>>/etc/stsmapd/stsmapd.toml
		echo secret >/etc/stsmapd/shared-password && chmod 600 /etc/stsmapd/shared-password`)
	if out, err := m.try("systemctl restart stsmapd"); err == nil {
		t.Errorf("the daemon starts without its password:\n%s", out)
	}
	// The commands of the error, as typed.
	cure := regexp.MustCompile(`chown root:\S+ \S+; chmod \d+ [^\s;]+`).FindString(m.journal())
	if cure == "" {
		t.Fatalf("the log has no commands:\n%s", m.journal())
	}
	m.run(t, cure+" && systemctl restart stsmapd")
	m.want(t, "stat -c '%a %U:%G' /etc/stsmapd/shared-password", "640 root:stsmapd")
	const credential = "LoadCredential=shared-password:/etc/stsmapd/shared-password"
	if !strings.Contains(m.journal(), "[Service] and "+credential) {
		t.Errorf("the log has no %s:\n%s", credential, m.journal())
	}
	m.run(t, "chown root:root /etc/stsmapd/shared-password; sed -i /^password_file/d /etc/stsmapd/stsmapd.toml")
	m.override(t, credential+"\\n")
	m.run(t, "systemctl restart stsmapd")
	m.want(t, `tr '\0' '\n' </proc/$(systemctl show -P MainPID stsmapd)/environ | grep ^CREDENTIALS_DIRECTORY`,
		"CREDENTIALS_DIRECTORY=/run/credentials/stsmapd.service")
	m.override(t, "")
	m.run(t, "rm /etc/stsmapd/shared-password; cp /test/stsmapd.toml /etc/stsmapd/stsmapd.toml && "+
		"systemctl restart stsmapd")
}

// wrongConfiguration reloads and upgrades with a configuration that is wrong: both say so, and the daemon goes on with
// the old one until it is mended.
func (m *machine) wrongConfiguration(t *testing.T) {
	const wrong = `unknown setting "override.nonsense"`
	before := m.run(t, "systemctl show -P MainPID stsmapd")
	m.run(t, "echo 'nonsense = 1' >>/etc/stsmapd/stsmapd.toml")
	m.fails(t, "a reload with a wrong configuration", "systemctl reload stsmapd")
	testkit.Eventually(t, testkit.Hang, "the daemon's and the command's word in the journal", func() bool {
		return strings.Contains(m.journal(), "event=reload_failed") && strings.Count(m.journal(), "nonsense") > 1
	})
	if out, err := m.try("stsmapd status"); err == nil || !strings.Contains(out, "nonsense") {
		t.Errorf("status does not tell of the bad reload: %v\n%s", err, out)
	}
	out := m.run(t, "/var/lib/dpkg/info/stsmapd.postinst configure 0.1 2>&1") // as an upgrade does
	if !strings.Contains(out, wrong) || !strings.Contains(out, "not restarted") {
		t.Errorf("an upgrade says\n%s", out)
	}
	m.want(t, "systemctl is-active stsmapd.service && systemctl show -P MainPID stsmapd", "active\n"+before)
	m.run(t, "cp /test/stsmapd.toml /etc/stsmapd/stsmapd.toml && systemctl reload stsmapd")
	if out, _ := m.try("stsmapd status"); strings.Contains(out, "nonsense") {
		t.Errorf("status after the file was mended:\n%s", out)
	}
}
