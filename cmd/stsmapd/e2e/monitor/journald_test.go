package monitor

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const journald = "/lib/systemd/systemd-journald"

// mailInfo is the facility and severity of Postfix's lines, as syslog(3) writes them.
const mailInfo = "<22>"

var hostOfLine = regexp.MustCompile(`^(\w{3} [ \d]\d \d\d:\d\d:\d\d) \S+ `)

// throughJournald logs the lines of a log to a systemd-journald of the test's own, as syslog(3) would, and returns what
// `journalctl -o export` prints of its journal.
func throughJournald(t *testing.T, log string) string {
	t.Helper()
	for _, program := range []string{journald, "/usr/bin/journalctl"} {
		if _, err := os.Stat(program); err != nil {
			testkit.Missing(t, program+" is not installed")
		}
	}
	run, err := os.MkdirTemp("", "journal") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	// It has a /run and a /var/log of its own, and reads no message of the kernel's.
	cmd := exec.Command("sh", "-ec", "mount --bind "+run+" /run && mount -t tmpfs log /var/log && "+
		"mkdir -p /run/systemd/journald.conf.d /run/systemd/journal && "+
		"printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n' >/run/systemd/journald.conf.d/test.conf && "+
		"exec "+journald)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var syslog net.Conn
	world.Eventually(t, world.Hang, "systemd-journald listens", func() (ok bool) {
		var err error
		syslog, err = net.Dial("unixgram", run+"/systemd/journal/dev-log")
		return err == nil
	})
	defer syslog.Close()
	const end = "the end of the log"
	for line := range strings.Lines(log + "Jan  1 00:00:00 host test[1]: " + end + "\n") {
		line = strings.TrimSuffix(line, "\n")
		if !hostOfLine.MatchString(line) {
			t.Fatalf("not a line of Postfix's log: %q", line)
		}
		if _, err := fmt.Fprint(syslog, mailInfo+hostOfLine.ReplaceAllString(line, "$1 ")); err != nil {
			t.Fatal(err)
		}
	}
	var export []byte
	world.Eventually(t, world.Hang, "the journal has all lines", func() bool {
		var err error
		export, err = exec.Command("journalctl", "-o", "export", "-D", run+"/log/journal").Output()
		return err == nil && strings.Contains(string(export), end)
	})
	return string(export)
}
