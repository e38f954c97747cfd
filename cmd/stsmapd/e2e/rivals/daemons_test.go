// Package rivals shows what README.md's comparison says: it puts stsmapd and two other daemons into the same situations
// and asks them the same questions. cmd/bench/rival.sh makes the folder of the others, which STSMAPD_RIVALS names;
// without it only stsmapd is asked.
package rivals

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// envRivals names the folder of the other daemons.
const envRivals = "STSMAPD_RIVALS"

// daemon is a program that answers Postfix, with the settings that it comes with but for addresses and certificates.
type daemon struct {
	name    string
	mapName string // that main.cf has
	dane    string // the same where Postfix does DANE
	// command returns the command that serves on an address, keeps what it knows in a directory, and asks a resolver
	command func(at netip.AddrPort, dir string, resolver netip.Addr) (cmd *exec.Cmd, config string)
}

// daemons are stsmapd, and the others as far as they are there.
func daemons(t *testing.T, w *world.World) []daemon {
	t.Helper()
	all := []daemon{{"stsmapd", "sts", "sts+dane",
		func(at netip.AddrPort, dir string, resolver netip.Addr) (*exec.Cmd, string) {
			return exec.Command(w.Binary, "serve", "--config", filepath.Join(dir, "config")), fmt.Sprintf(
				"listen = [\"inet:%s\"]\nstate_dir = %q\ncontrol = \"\"\n[dns]\nservers = [%q]\n"+
					"[fetch]\nca_file = %q\nallow_private_addresses = true\n", at, dir, resolver, w.CAFile)
		}}}
	folder := os.Getenv(envRivals)
	if folder == "" {
		t.Logf("%s is not set: only stsmapd is asked", envRivals)
		return all
	}
	all = append(all, daemon{"postfix-mta-sts-resolver", "postfix", "postfix",
		func(at netip.AddrPort, dir string, _ netip.Addr) (*exec.Cmd, string) {
			cmd := exec.Command("/usr/bin/python3", filepath.Join(folder, "usr/bin/mta-sts-daemon"), "-c",
				filepath.Join(dir, "config"))
			libraries, err := filepath.Glob(filepath.Join(folder, "usr/lib/*-linux-gnu*"))
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(folder, "usr/lib/python3/dist-packages"),
				"LD_LIBRARY_PATH="+strings.Join(libraries, ":"), "SSL_CERT_FILE="+w.CAFile)
			return cmd, fmt.Sprintf("host: %s\nport: %d\n"+
				"cache:\n  type: sqlite\n  options:\n    filename: %s/cache.db\n", at.Addr(), at.Port(), dir)
		}})
	tlspol := filepath.Join(folder, "postfix-tlspol")
	if _, err := os.Stat(tlspol); err != nil {
		t.Logf("no postfix-tlspol: %v", err)
		return all
	}
	return append(all, daemon{"postfix-tlspol", "QUERY", "QUERY",
		func(at netip.AddrPort, dir string, resolver netip.Addr) (*exec.Cmd, string) {
			cmd := exec.Command(tlspol, "-config", filepath.Join(dir, "config"))
			cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+w.CAFile)
			return cmd, fmt.Sprintf("server:\n  address: %s\n  cache-file: %s/cache.db\n  prefetch: true\n"+
				"dns:\n  address: %s:53\n", at, dir, resolver)
		}})
}

// running is a daemon that runs.
type running struct {
	t    *testing.T
	spec string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a daemon, and waits until it listens.
func (d daemon) start(t *testing.T, w *world.World, dir string, resolver netip.Addr) *running {
	t.Helper()
	at := netip.AddrPortFrom(w.Host(), 8461)
	cmd, config := d.command(at, dir, resolver)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, spec: "inet:" + at.String(), log: filepath.Join(dir, "log"), cmd: cmd,
		done: make(chan struct{})}
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(r.kill)
	testkit.Eventually(t, testkit.Hang, d.name+" to listen", func() bool {
		c, err := socketmap.Dial(t.Context(), r.spec)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return r
}

// kill ends the daemon as kill -9 does.
func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
	if r.t.Failed() {
		text, _ := os.ReadFile(r.log)
		r.t.Logf("the log of %s:\n%s", r.cmd.Path, text)
	}
}

// stop ends the daemon as systemd does.
func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(testkit.Hang):
		r.t.Error("the daemon does not stop")
		r.kill()
	}
}

// ask returns the reply to a question on a connection of its own.
func (r *running) ask(mapName, key string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), testkit.Hang)
	defer cancel()
	c, err := socketmap.Dial(ctx, r.spec)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	reply, err := c.Ask(ctx, mapName, key)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(reply.String())
}
