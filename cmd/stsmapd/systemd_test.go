package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/systemd"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// partnerAnswer is what a daemon with the configuration of partnerConfig answers about partner.example.
const partnerAnswer = "OK secure match=mail.partner.example servername=hostname"

// partnerConfig writes a configuration under which a question needs no network. Its listener cannot be opened.
func partnerConfig(t *testing.T, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "stsmapd.toml")
	text := `listen = ["inet:192.0.2.1:8461"]
control = ""
[dns]
servers = ["127.0.0.1:1"]
[[override]]
domain = "partner.example"
action = "enforce"
mx = ["mail.partner.example"]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSocketActivation has systemd's own tool start the daemon with three sockets, on the first of which somebody asks,
// and listens to what the daemon tells systemd meanwhile.
func TestSocketActivation(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		testkit.Missing(t, "no systemd-socket-activate")
	}
	dir := t.TempDir()
	addresses := freeAddresses(t, 2)
	socket := filepath.Join(dir, "sts.sock")
	notify := newNotified(t)
	stsmapd, err := exec.LookPath("stsmapd")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(exec.Command(activate, "--fdname=inet:chroot:metrics", "-l", addresses[0], "-l", socket, "-l",
		addresses[1],
		"-E", "NOTIFY_SOCKET="+notify.path, "-E", "WATCHDOG_USEC=600000", "-E", "GORACE=atexit_sleep_ms=10",
		stsmapd, "serve", "--config", partnerConfig(t, dir), "--state-dir", filepath.Join(dir, "state")))
	p.begin(t)
	for _, listener := range []string{"inet:" + addresses[0], "unix:" + socket} {
		if got := askUntilAnswered(t, listener); got != partnerAnswer {
			t.Errorf("by %s: %s", listener, got)
		}
	}
	if got := notify.next(t); got != "READY=1" {
		t.Errorf("told %q at start", got)
	}
	if got, ok := notify.within(t, hangLimit); !ok || got != "WATCHDOG=1" {
		t.Errorf("told %q then, not that it lives", got)
	}
	if got := get(t, "http://"+addresses[1]+"/healthz"); got != "ok\n" {
		t.Errorf("by the socket called metrics: %q", got)
	}
	before := monotonic(t)
	p.signal(t, syscall.SIGHUP)
	text, isReload := strings.CutPrefix(notify.next(t), "RELOADING=1\nMONOTONIC_USEC=")
	if at, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); !isReload || err != nil || at < before ||
		at > monotonic(t) {
		t.Errorf("told of a reload at %q, which was after %d: %v", text, before, err)
	}
	if got := notify.next(t); got != "READY=1" {
		t.Errorf("told %q after a reload", got)
	}
	p.signal(t, syscall.SIGTERM)
	if got := notify.next(t); got != "STOPPING=1" {
		t.Errorf("told %q at the end", got)
	}
	p.end(t, 0)
	for name, spec := range map[string]string{
		"inet": "inet:" + addresses[0], "chroot": "unix:" + socket, "metrics": "inet:" + addresses[1]} {
		if line := "event=activated name=" + name + " listen=" + spec; !strings.Contains(p.output(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
}

// TestUnusableSockets: a wrong unit is an error.
func TestUnusableSockets(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ why, name, network, want string }{
		{"ListenDatagram=", "chroot", "unixgram",
			`stsmapd: socket "chroot" from systemd: only ListenStream= is supported, this one is of type unixgram`},
		{"two of one kind", "metrics", "unix", `stsmapd: more than one socket from systemd has the name "metrics"`},
	} {
		var f fakeSystemd
		for _, name := range []string{"a", "b"} {
			address := &net.UnixAddr{Name: filepath.Join(dir, c.network+name), Net: c.network}
			if c.network == "unix" {
				l, err := net.ListenUnix(c.network, address)
				if err != nil {
					t.Fatal(err)
				}
				f.hold(t, c.name, l)
				continue
			}
			l, err := net.ListenUnixgram(c.network, address)
			if err != nil {
				t.Fatal(err)
			}
			f.hold(t, c.name, l)
		}
		p := f.program("serve", "--config", partnerConfig(t, dir), "--state-dir", filepath.Join(dir, "state"))
		p.begin(t)
		p.end(t, 1)
		if !strings.Contains(p.output(), c.want) {
			t.Errorf("%s: %s", c.why, p.output())
		}
	}
}

// gated answers that there is no policy, when its gate is open.
type gated struct {
	gate  chan struct{}
	asked atomic.Int64
}

func (g *gated) Answer(ctx context.Context, _ resolver.Question) resolver.Verdict {
	g.asked.Add(1)
	select {
	case g.gate <- struct{}{}:
		<-g.gate
	case <-ctx.Done():
	}
	return resolver.Verdict{Outcome: resolver.Absent}
}

// TestWatchdogStopsWithoutAnswers: systemd hears that the daemon lives as long as questions are answered, and no
// longer.
func TestWatchdogStopsWithoutAnswers(t *testing.T) {
	log := &program{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	answerer := &gated{gate: make(chan struct{}, 1)}
	server := &socketmap.Server{Handler: tlspolicy.NewHandler(answerer, logger), Logger: logger}
	private := socketmap.NewPrivateListener()
	served := make(chan error, 1)
	go func() { served <- server.Serve(private) }()
	defer func() { _ = server.Shutdown(context.Background()); <-served }()

	notify := newNotified(t)
	t.Setenv("NOTIFY_SOCKET", notify.path)
	ctx, end := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m := &systemd.Manager{Log: logger, Watchdog: 300 * time.Millisecond}
		m.Watch(ctx, admin.NewProber(private.Dial).Probe)
	}()
	defer func() { end(); <-watched }()

	fed := func() bool { m, ok := notify.within(t, hangLimit); return ok && m == "WATCHDOG=1" }
	for range 2 {
		if !fed() {
			t.Fatal("the watchdog is not fed while all is well")
		}
	}
	answerer.gate <- struct{}{} // shut
	waitFor(t, func() bool { return strings.Contains(log.output(), "event=self_check_failed") })
	for _, ok := notify.within(t, time.Millisecond); ok; _, ok = notify.within(t, time.Millisecond) {
	} // what was told before
	asked := answerer.asked.Load()
	waitFor(t, func() bool { return answerer.asked.Load() >= asked+2 })
	if m, ok := notify.within(t, time.Millisecond); ok {
		t.Errorf("told %q while no question is answered", m)
	}
	<-answerer.gate // open
	if !fed() {
		t.Error("the watchdog is not fed again")
	}
	waitFor(t, func() bool { return strings.Contains(log.output(), "event=self_check_recovered") })
}

// signal sends a signal to a process that runs.
func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func freeAddresses(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // only then, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); !done(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("not done in time")
		}
	}
}

// askUntilAnswered asks about partner.example, and again as long as nobody listens.
func askUntilAnswered(t *testing.T, spec string) (answer string) {
	t.Helper()
	waitFor(t, func() bool {
		reply, err := query(t.Context(), spec, "sts", "partner.example")
		answer = reply.String()
		return err == nil
	})
	return answer
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// monotonic is the clock of MONOTONIC_USEC, in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(fmt.Errorf("reading the clock: %w", err))
	}
	return ts.Nano() / 1000
}
