package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// StopLimit is how long stsmapd may take to end after SIGTERM, on a machine that does nothing else.
	StopLimit = 10 * time.Second
	// askLimit is longer than Postfix waits for a reply.
	askLimit = 110 * time.Second
)

// DaemonConfig is the configuration of a stsmapd, as far as tests choose it. The zero DaemonConfig is a daemon that
// trusts the World's CA and may use loopback addresses, on port 8461 of a host of its own and with a new state
// directory.
type DaemonConfig struct {
	Inet         netip.AddrPort
	Unix         string        // the path of a socket to listen on as well; "": none
	StateDir     string        // "": a new one
	FetchTimeout time.Duration // 0: stsmapd's default
	Resolver     netip.Addr    // to ask on port 53; the zero Addr: that of /etc/resolv.conf
	Collector    string        // the socket of the TLSRPT collector; "": none
	Control      string        // the control socket, as "unix:/path"; "": none
}

// Daemon is a running stsmapd.
type Daemon struct {
	Inet     netip.AddrPort
	Unix     string
	StateDir string
	Log      *Log // its stderr

	// Doomed is set by a test that takes away its memory, so that it may crash.
	Doomed bool

	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and cmd.ProcessState is set
}

// StartDaemon starts a stsmapd with a configuration file and waits until it is ready. If it still runs at the end of
// the test, it is stopped, and must end with exit code 0.
func (w *World) StartDaemon(t testing.TB, config DaemonConfig) *Daemon {
	t.Helper()
	if !config.Inet.IsValid() {
		config.Inet = netip.AddrPortFrom(w.Host(), 8461)
	}
	if config.StateDir == "" {
		config.StateDir = t.TempDir()
	}
	file := filepath.Join(t.TempDir(), "stsmapd.toml")
	if err := os.WriteFile(file, []byte(w.toml(config)), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "--config", file, "--log-level", "debug", "--state-dir", config.StateDir,
		"--listen", "inet:" + config.Inet.String()}
	if config.Unix != "" {
		args = append(args, "--listen", "unix:"+config.Unix)
	}
	d := w.StartProcess(t, nil, args...)
	d.Inet, d.Unix, d.StateDir = config.Inet, config.Unix, config.StateDir
	return d
}

func (w *World) toml(config DaemonConfig) string {
	text := fmt.Sprintf("control = %q\ntlsrpt_socket = %q\n", config.Control, config.Collector)
	if config.Resolver.IsValid() {
		text += fmt.Sprintf("[dns]\nservers = [%q]\n", config.Resolver)
	}
	text += fmt.Sprintf("[fetch]\nca_file = %q\nallow_private_addresses = true\n", w.CAFile)
	if config.FetchTimeout != 0 {
		text += fmt.Sprintf("timeout = %q\n", config.FetchTimeout)
	}
	return text
}

// CheckConfig writes a configuration for `stsmapd check` and returns its path. The resolver is as in [DaemonConfig].
func (w *World) CheckConfig(t testing.TB, resolver netip.Addr) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stsmapd.toml")
	text := w.toml(DaemonConfig{Resolver: resolver, FetchTimeout: 2 * time.Second})
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// StartProcess starts stsmapd with exactly these arguments, in this environment (nil: that of the test), and waits
// until it is ready.
func (w *World) StartProcess(t testing.TB, env []string, args ...string) *Daemon {
	t.Helper()
	return w.StartProcessAfter(t, "", env, args...)
}

// StartProcessAfter is StartProcess after this shell command in the same process: the daemon has the limits and the
// mounts that the command sets.
func (w *World) StartProcessAfter(t testing.TB, command string, env []string, args ...string) *Daemon {
	t.Helper()
	d := &Daemon{Log: newLog(t), exited: make(chan struct{})}
	d.cmd = exec.Command(w.Binary, args...)
	if command != "" {
		d.cmd = exec.Command("unshare",
			append([]string{"--mount", "sh", "-c", command + ` && exec "$0" "$@"`, w.Binary}, args...)...)
	}
	d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = quickExit(env), d.Log.file, d.Log.file
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("starting stsmapd: %v", err)
	}
	go func() {
		_ = d.cmd.Wait() // ProcessState says how it ended
		close(d.exited)
	}()
	t.Cleanup(func() { d.finish(t) })
	Poll(Hang, func() bool { return d.Ended() || len(d.Log.Lines("event=ready")) > 0 })
	if d.Ended() || len(d.Log.Lines("event=ready")) == 0 {
		t.Fatalf("stsmapd %s is not ready; its log:\n%s", strings.Join(args, " "), d.Log)
	}
	return d
}

// Listeners returns the daemon's listeners in the form that socketmap.Dial takes.
func (d *Daemon) Listeners() []string {
	specs := []string{"inet:" + d.Inet.String()}
	if d.Unix != "" {
		specs = append(specs, "unix:"+d.Unix)
	}
	return specs
}

// Ask asks the daemon as Postfix does and returns the reply, such as "OK secure match=…" or "NOTFOUND ".
func (d *Daemon) Ask(t testing.TB, mapName, key string) string {
	t.Helper()
	reply, err := d.TryAsk(mapName, key)
	if err != nil {
		t.Fatalf("asking stsmapd for %s: %v", key, err)
	}
	return reply
}

// TryAsk is Ask that returns an error, where Ask fails the test.
func (d *Daemon) TryAsk(mapName, key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	client, err := socketmap.Dial(ctx, d.Listeners()[0])
	if err != nil {
		return "", err
	}
	defer client.Close()
	reply, err := client.Ask(ctx, mapName, key)
	return reply.String(), err
}

// Asker returns a function that asks over one connection to this listener, as each of Postfix's SMTP clients does.
func (d *Daemon) Asker(t testing.TB, listener string) func(mapName, key string) string {
	t.Helper()
	client, err := socketmap.Dial(t.Context(), listener)
	if err != nil {
		t.Fatalf("connecting to stsmapd on %s: %v", listener, err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return func(mapName, key string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
		defer cancel()
		reply, err := client.Ask(ctx, mapName, key)
		if err != nil {
			t.Fatalf("asking stsmapd for %s: %v", key, err)
		}
		return reply.String()
	}
}

// Pid returns the id of the process.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%v to stsmapd: %v; its log:\n%s", sig, err, d.Log)
	}
}

// Wait waits for the end of the daemon after a signal, and returns the exit code; -1 after SIGKILL.
func (d *Daemon) Wait(t testing.TB) int {
	t.Helper()
	limit := time.NewTimer(Hang)
	defer limit.Stop()
	select {
	case <-d.exited:
		return d.cmd.ProcessState.ExitCode()
	case <-limit.C:
		d.Signal(t, syscall.SIGKILL)
		<-d.exited
		t.Fatalf("stsmapd did not end within %v; its log:\n%s", Hang, d.Log)
		return 0
	}
}

// finish stops the daemon if it still runs, and fails the test if it has crashed or raced.
func (d *Daemon) finish(t testing.TB) {
	if !d.Ended() {
		d.Signal(t, syscall.SIGTERM)
		if code := d.Wait(t); code != 0 {
			t.Errorf("stsmapd ended with code %d after SIGTERM", code)
		}
		if t.Failed() {
			t.Logf("log of stsmapd on %v:\n%s", d.Inet, d.Log)
		}
	}
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if !d.Doomed && d.Log.Lines(sign) != nil {
			t.Errorf("stsmapd on %v crashed or raced:\n%s", d.Inet, d.Log)
		}
	}
}

// Ended reports whether the daemon has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// Command runs a stsmapd command that ends by itself, in this environment (nil: that of the test).
func (w *World) Command(t testing.TB, env []string, args ...string) Result {
	t.Helper()
	cmd := exec.Command(w.Binary, args...)
	cmd.Env = quickExit(env)
	return runCommand(t, cmd)
}

// quickExit returns the environment in which a stsmapd with the race detector exits without waiting a second.
func quickExit(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	return append(slices.Clone(env), "GORACE=atexit_sleep_ms=10")
}

// Limit sets a soft limit of the running daemon, such as RLIMIT_NOFILE. The hard limit stays.
func (d *Daemon) Limit(t testing.TB, resource int, value uint64) {
	t.Helper()
	var now unix.Rlimit
	if err := unix.Prlimit(d.Pid(), resource, nil, &now); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(d.Pid(), resource, &unix.Rlimit{Cur: min(value, now.Max), Max: now.Max}, nil); err != nil {
		t.Fatal(err)
	}
}

// Usage is what a process uses of the machine.
type Usage struct {
	Resident  int64 // bytes of RAM, including mapped files
	Anonymous int64 // bytes of RAM, without mapped files
	Virtual   int64 // bytes of address space
	Files     int   // open file descriptors
}

// Usage returns what the daemon uses now; the zero Usage if it has ended.
func (d *Daemon) Usage(t testing.TB) Usage {
	t.Helper()
	proc := filepath.Join(procDir(t), fmt.Sprint(d.Pid()))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	files, err2 := os.ReadDir(filepath.Join(proc, "fd"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
		return Usage{}
	}
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return Usage{
		Resident: kilobytes(string(status), "VmRSS:"), Anonymous: kilobytes(string(status), "RssAnon:"),
		Virtual: kilobytes(string(status), "VmSize:"), Files: len(files),
	}
}

// kilobytes returns a field of a /proc/<pid>/status in bytes; 0 if there is none, as for a process that has ended.
func kilobytes(status, field string) int64 {
	_, after, _ := strings.Cut(status, field)
	var n int64
	_, _ = fmt.Sscanf(after, "%d kB", &n)
	return n << 10
}

// procDir returns a /proc of this PID namespace: in that of the machine, processes have other ids.
func procDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.Getenv(envDir), "proc")
	switch err := os.Mkdir(dir, 0o555); {
	case errors.Is(err, fs.ErrExist):
	case err != nil:
		t.Fatal(err)
	default:
		if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
			t.Fatalf("mounting a proc file system: %v", err)
		}
	}
	Eventually(t, Hang, "the proc file system", func() bool { // another test may be mounting it
		_, err := os.Stat(filepath.Join(dir, "1"))
		return err == nil
	})
	return dir
}
