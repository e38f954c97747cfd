package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// defaultAddress is where stsmapd listens when nobody says otherwise.
const defaultAddress = "127.0.0.1:8461"

// TestServeWithoutConfiguration runs the daemon as an administrator would who reads nothing. This test and the next
// have the default address, so they do not run in parallel.
func TestServeWithoutConfiguration(t *testing.T) {
	w := world.Open(t)
	private := w.Domain("private")
	private.Publish(t, "1", private.EnforcedText())
	state, runtime := t.TempDir(), t.TempDir()
	for _, c := range []struct {
		why, store string
		env        []string
	}{
		{"as systemd starts it", state, []string{"STATE_DIRECTORY=" + state, "RUNTIME_DIRECTORY=" + runtime}},
		{"by hand, as root", "/var/lib/stsmapd", []string{"PATH=" + os.Getenv("PATH"), "RUNTIME_DIRECTORY=" + runtime}},
	} {
		d := w.StartProcess(t, c.env, "serve")
		for _, name := range []string{"unknown.example.test", private.Name} {
			if got := w.Command(t, nil, "query", name); got.Code != 1 || got.Stdout != "" {
				t.Errorf("%s: stsmapd query %s: %+v, want exit code 1 and nothing", c.why, name, got)
			}
		}
		if n := private.Policy.Connections(); n != 0 {
			t.Errorf("%s: %d connections to a policy host on a loopback address, which is none of the internet's",
				c.why, n)
		}
		if lines := d.Log.Lines("level=WARN", "domain="+private.Name, private.Policy.Addr.String()); len(lines) != 1 {
			t.Errorf("%s: the log does not say that the address %v was refused:\n%s", c.why, private.Policy.Addr, d.Log)
		}
		if _, err := os.Stat(filepath.Join(c.store, "policies.db")); err != nil {
			t.Errorf("%s: the store: %v", c.why, err)
		}
		d.Signal(t, syscall.SIGTERM)
		if code := d.Wait(t); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM", c.why, code)
		}
		if got := w.Command(t, nil, "query", "unknown.example.test"); got.Code != 2 ||
			strings.Count(got.Stderr, "\n") != 1 {
			t.Errorf("%s: stsmapd query without a daemon: %+v, want exit code 2 and a line why", c.why, got)
		}
	}
}

func TestQuery(t *testing.T) {
	w := world.Open(t)
	d := w.Domain("query")
	d.Publish(t, "1", world.Text("testing", "mx1."+d.Name))
	w.StartDaemon(t, world.DaemonConfig{Inet: addrPort(t, defaultAddress)})
	answer := "secure match=mx1." + d.Name + " servername=hostname\n"
	for _, c := range []struct {
		why    string
		args   []string
		code   int
		stdout string
	}{
		{"found", []string{"-m", "sts+strict", d.Name}, 0, answer},
		{"not found", []string{d.Name}, 1, ""},
		{"another name for a map", []string{"-m", "postfix", d.Name}, 1, ""},
		{"no domain", []string{"not_a_domain"}, 1, ""},
		{"no such map", []string{"-m", "nonsense", d.Name}, 2, ""},
		{"called wrongly", nil, 2, ""},
	} {
		got := w.Command(t, nil, append([]string{"query"}, c.args...)...)
		if got.Code != c.code || got.Stdout != c.stdout || (c.code == 0) != (got.Stderr == "") {
			t.Errorf("%s: stsmapd query %v: got %+v, want exit code %d and %q", c.why, c.args, got, c.code, c.stdout)
		}
	}
}

// TestEndsWithQuestionsInFlight ends the daemon while it waits for a policy host: a question is answered truly or not
// at all.
func TestEndsWithQuestionsInFlight(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			daemon := w.StartDaemon(t, world.DaemonConfig{})
			d := w.Domain("inflight")
			d.Publish(t, "1", d.EnforcedText())
			d.Policy.Mute()
			type outcome struct {
				reply string
				err   error
			}
			asked := make(chan outcome, 1)
			go func() {
				reply, err := daemon.TryAsk("postfix", d.Name)
				asked <- outcome{reply, err}
			}()
			world.Eventually(t, world.Hang, "the fetch", func() bool { return d.Policy.Connections() > 0 })
			watch, begin := testkit.StartWatch(t), time.Now()
			daemon.Signal(t, signal)
			if code := daemon.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took, limit := time.Since(begin), watch.Limit(world.StopLimit); took > limit {
				t.Errorf("stsmapd ended after %v, may take %v", took, limit)
			}
			if got := <-asked; got.err == nil {
				t.Errorf("the question in flight was answered %q, want the connection closed", got.reply)
			}
		})
	}
}

// complaints counts the lines on stderr, but for warnings about this machine: a low limit of open files, and options in
// resolv.conf.
func complaints(stderr string) (n int) {
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, " event=nofile_low ") && !strings.Contains(line, " event=resolv_conf ") {
			n++
		}
	}
	return n
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	running := w.StartDaemon(t, world.DaemonConfig{Unix: filepath.Join(t.TempDir(), "sts.sock")})
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	noDir := write("file", "not a directory")
	taken, err := net.Listen("tcp", net.JoinHostPort(w.Host().String(), "8461"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		why, config string
		args, says  []string
	}{
		{why: "no such file", args: []string{"--config", "/nonexistent/stsmapd.toml"},
			says: []string{"/nonexistent/stsmapd.toml"}},
		{why: "no TOML", config: "[dns]\ntimeout = 3s\n", says: []string{"no-TOML.toml:2:"}},
		{why: "unknown key", config: "[dns]\nserver = [\"127.0.0.1\"]\n",
			says: []string{"unknown-key.toml:2:", "dns.server"}},
		{why: "unknown table", config: "[domain]\nname = \"example.com\"\n",
			says: []string{"unknown-table.toml:", "domain"}},
		{why: "wrong type", config: "[dns]\nattempts = \"many\"\n", says: []string{"wrong-type.toml:2:", "attempts"}},
		{why: "no duration", config: "[dns]\ntimeout = \"3\"\n", says: []string{"no-duration.toml:2:", "timeout"}},
		{why: "out of bounds", config: "[dns]\nattempts = 0\n", says: []string{"out-of-bounds.toml:", "dns.attempts"}},
		{why: "no CA file", config: "[fetch]\nca_file = \"/nonexistent/ca.pem\"\n",
			says: []string{"ca_file", "/nonexistent/ca.pem"}},
		{why: "no DNS server", config: "[dns]\nservers = [\"dns.example\"]\n",
			says: []string{"dns.servers", "dns.example"}},
		{why: "no listener", args: []string{"--listen", "tcp:127.0.0.1"}, says: []string{"tcp:127.0.0.1"}},
		{why: "port in use", args: []string{"--listen", "inet:" + taken.Addr().String()},
			says: []string{taken.Addr().String()}},
		{why: "socket in use", args: []string{"--listen", "unix:" + running.Unix}, says: []string{running.Unix}},
		{why: "socket nowhere", args: []string{"--listen", "unix:/nonexistent/sts.sock"},
			says: []string{"/nonexistent/sts.sock"}},
		{why: "state directory is a file", args: []string{"--state-dir", noDir}, says: []string{noDir}},
		{why: "store in use", args: []string{"--state-dir", running.StateDir}, says: []string{running.StateDir}},
		{why: "no log level", args: []string{"--log-level", "loud"}, says: []string{"loud"}},
	} {
		t.Run(c.why, func(t *testing.T) {
			args := []string{"serve", "--listen", "inet:" + net.JoinHostPort(w.Host().String(), "8461"), "--state-dir",
				t.TempDir()}
			if c.config != "" {
				args = append(args, "--config", write(strings.ReplaceAll(c.why, " ", "-")+".toml", c.config))
			}
			got := w.Command(t, nil, append(args, c.args...)...)
			if got.Code != 1 || got.Stdout != "" || complaints(got.Stderr) != 1 {
				t.Errorf("got %+v, want exit code 1 and one line on stderr", got)
			}
			for _, text := range c.says {
				if !strings.Contains(got.Stderr, text) {
					t.Errorf("the message does not say %q: %s", text, got.Stderr)
				}
			}
		})
	}
}
