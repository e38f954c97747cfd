package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// ask is a shell script that asks about partner.example until /test/enough is there, each time on a new connection. It
// prints what each question got that was not answered as it should.
const ask = `n=0
while [ ! -e /test/enough ]; do
	n=$((n + 1))
	echo $n >/test/asked
	got=$(postmap -q partner.example ` + byTCP + ` 2>&1)
	case $got in
	'` + partner + `') ;;
	'') echo "question $n: wrong: no policy" ;;
	*refused*) echo "question $n: refused: $got" ;;
	*) echo "question $n: closed: $got" ;;
	esac
done
echo "asked $n"`

// underQuestions runs do while questions are asked: none may be refused or answered wrong. Connections that a process
// has accepted and that end with it are closed without an answer; Postfix's smtp(8) then asks again.
func (m *machine) underQuestions(t *testing.T, do func()) {
	t.Helper()
	enough := filepath.Join(m.shared, "enough")
	if err := os.Remove(enough); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
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
			if err := os.WriteFile(enough, nil, 0o644); err != nil {
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
	if refused+wrong > 0 || closed > 3 {
		t.Error(out)
	}
}

// moreAsked waits until three more questions have been answered.
func (m *machine) moreAsked(t *testing.T) {
	t.Helper()
	number := func() string { return m.run(t, "cat /test/asked 2>/dev/null || true") }
	for range 3 {
		before := number()
		testkit.Eventually(t, testkit.Hang, "the next question", func() bool { return number() != before })
	}
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
		{"watchdog", "systemctl kill -s STOP stsmapd"},
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
	if !strings.Contains(m.run(t, "journalctl --no-pager -u stsmapd"), "atchdog timeout") {
		t.Error("the watchdog did not end the daemon")
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
