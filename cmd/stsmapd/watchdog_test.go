package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// manyFiles is the limit of open files of these daemons: half of them are for connections from Postfix.
const manyFiles = 1000

// startWatched starts a daemon whose watchdog wants a ping every 0.6 s, and waits until it is ready.
func startWatched(t *testing.T, notify *notified, addresses []string) *program {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "stsmapd.toml")
	text := fmt.Sprintf("listen = [%q]\nmetrics = %q\ncontrol = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n",
		"inet:"+addresses[0], addresses[1], "unix:"+filepath.Join(dir, "control.sock"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d && WATCHDOG_PID=$$ exec stsmapd "$@"`, manyFiles), "sh",
		"serve", "--config", file, "--state-dir", filepath.Join(dir, "state"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.path, "WATCHDOG_USEC=600000")
	p := newProgram(cmd)
	p.begin(t)
	notify.ready(t)
	return p
}

// hold opens n connections, and holds them until the test ends.
func hold(t *testing.T, address string, n int) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// TestWatchdogUnderFlood: clients hold all connections of the listener and of the status page. The watchdog is fed all
// the same, and /healthz and a container's health check say that the daemon is well: a restart would drop the mail
// server's connections, and leave the port free for a moment.
func TestWatchdogUnderFlood(t *testing.T) {
	notify, addresses := newNotified(t), freeAddresses(t, 2)
	p := startWatched(t, notify, addresses)
	hold(t, addresses[0], manyFiles/2+50)
	hold(t, addresses[1], 300)
	waitFor(t, func() bool { return strings.Contains(p.output(), "event=socketmap_conn_limit") })
	check := []string{"query", "--health", "--config", p.Args[slices.Index(p.Args, "--config")+1]}
	if out, err := exec.Command("stsmapd", check...).CombinedOutput(); err != nil {
		t.Errorf("the health check of a container: %v\n%s", err, out)
	}
	out, err := exec.Command("stsmapd", append(check, "--connect", "inet:"+addresses[0])...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no answer within 2s") {
		t.Errorf("one by the listener: %v\n%s", err, out)
	}
	for fed := 0; fed < 10; { // some may be from before the flood
		message, ok := notify.within(t, hangLimit)
		if !ok || message != "WATCHDOG=1" {
			t.Fatalf("told %q after %d pings of the watchdog", message, fed)
		}
		fed++
		if got := get(t, "http://"+addresses[1]+"/healthz"); got != "ok\n" {
			t.Fatalf("/healthz: %q", got)
		}
	}
	if strings.Contains(p.output(), "self_check_failed") {
		t.Error("a self-check has failed")
	}
	p.signal(t, syscall.SIGTERM)
	p.end(t, 0)
}

// TestAbortIsShort: systemd's watchdog ends a daemon by SIGABRT. Its log says where the daemon was, in a few lines
// however many connections there are.
func TestAbortIsShort(t *testing.T) {
	notify, addresses := newNotified(t), freeAddresses(t, 2)
	p := startWatched(t, notify, addresses)
	hold(t, addresses[0], manyFiles/2)
	waitFor(t, func() bool { return strings.Contains(p.output(), "event=socketmap_conn_limit") })
	p.signal(t, syscall.SIGABRT)
	p.end(t, exitError)
	_, log, found := strings.Cut(p.output(), "event=aborted\n")
	if !found || len(log) > 64<<10 || strings.Contains(log, "goroutine 1 [") {
		t.Fatalf("%d bytes after the abort", len(log))
	}
	crowd := 0 // on a busy machine some connections are elsewhere, each on a line of its own
	for _, m := range regexp.MustCompile(`event=goroutines count=(\d+) stack="?[^\n]*socketmap\.\(\*stream\)\.each`).
		FindAllStringSubmatch(log, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		crowd = max(crowd, n)
	}
	if crowd < manyFiles/2*9/10 {
		t.Errorf("%d goroutines on one line, want nearly all %d connections", crowd, manyFiles/2)
	}
}
