// Package enginetest runs real engines for tests: Debian's redis-server, alone, with a replica and sentinels, or as a
// cluster, and valkey-server from the folder with Debian 13 that packaging/tools/chroot.sh makes. Each engine has a
// loopback address of its own, so that tests can run at the same time, and ends with its test.
package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// port is the port of every engine.
const port = "6379"

// Program is the program of an engine.
type Program struct {
	path string
	root string // directory that it is run in; "": the machine's root
}

// Redis returns the machine's redis-server.
func Redis(t testing.TB) Program {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		testkit.Missing(t, "redis-server is not installed")
	}
	return Program{path: path}
}

// Valkey returns the valkey-server of the folder with Debian 13.
func Valkey(t testing.TB) Program {
	t.Helper()
	if os.Geteuid() != 0 {
		testkit.Skip(t, "not root, so valkey-server cannot be run out of the folder with Debian 13")
	}
	p := Program{path: "/usr/bin/valkey-server", root: testkit.Folder(t, "debian-13")}
	if _, err := os.Stat(filepath.Join(p.root, p.path)); err != nil {
		testkit.Missing(t, "no valkey-server in a folder with Debian 13 ("+p.root+")")
	}
	return p
}

// Engine is a running engine.
type Engine struct {
	Host string // its address, without the port

	t       testing.TB
	program Program
	args    []string
	config  string // of a sentinel; "": the engine is not a sentinel
	dir     string

	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has ended
	output *bytes.Buffer
}

// Start starts an engine with arguments such as "--maxmemory", "2mb", and waits until it accepts connections.
func Start(t testing.TB, p Program, args ...string) *Engine {
	t.Helper()
	return startLike(t, &Engine{program: p, args: args})
}

// StartTLS starts an engine that accepts only TLS, with a certificate for its address.
func StartTLS(t testing.TB, p Program) (e *Engine, caFile string) {
	t.Helper()
	host := loopback()
	caFile, certFile, keyFile := certificate(t, host)
	e = &Engine{Host: host, t: t, program: p, dir: t.TempDir(),
		args: []string{"--port", "0", "--tls-port", port, "--tls-cert-file", certFile,
			"--tls-key-file", keyFile, "--tls-ca-cert-file", caFile, "--tls-auth-clients", "no"}}
	if !e.start() {
		t.Fatalf("%s does not start:\n%s", p.path, e.output)
	}
	t.Cleanup(e.Kill)
	return e, caFile
}

// startLike starts an engine with the program, arguments and configuration of like.
func startLike(t testing.TB, like *Engine) *Engine {
	t.Helper()
	p := like.program
	for range 5 {
		e := &Engine{Host: loopback(), t: t, program: p, args: like.args, config: like.config, dir: t.TempDir()}
		if e.start() {
			t.Cleanup(e.Kill)
			return e
		}
		if !strings.Contains(e.output.String(), "Address already in use") {
			t.Fatalf("%s does not start:\n%s", p.path, e.output)
		}
	}
	t.Fatalf("%s found no free address", p.path)
	return nil
}

// loopback returns a random loopback address, which is hardly ever in use.
func loopback() string {
	return fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(128), 1+rand.IntN(254), 1+rand.IntN(254))
}

// Addr returns the engine's address, host:port.
func (e *Engine) Addr() string { return net.JoinHostPort(e.Host, port) }

// start starts the engine and reports whether it accepts connections. If not, output says why.
func (e *Engine) start() bool {
	dir := e.dir
	if e.program.root != "" {
		dir = "/" // it writes no file
	}
	args := []string{"--bind", e.Host, "--port", port, "--dir", dir, "--protected-mode", "no",
		"--bind-source-addr", e.Host} // otherwise the other engines would know it as 127.0.0.1
	if e.config != "" {
		args = append([]string{e.config, "--sentinel"}, args...)
	} else {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	args = append(args, e.args...)
	ended, output := make(chan struct{}), &bytes.Buffer{}
	cmd := exec.Command(e.program.path, args...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Chroot: e.program.root}
	if e.program.root != "" {
		cmd.Dir, cmd.Err = "/", nil
	}
	started := make(chan error)
	go func() {
		defer close(ended)
		runtime.LockOSThread() // Pdeathsig is sent when the thread that started it ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			_ = cmd.Wait() // the exit status does not matter
		}
	}()
	if err := <-started; err != nil {
		e.t.Fatalf("%s: %v", e.program.path, err)
	}
	e.cmd, e.ended, e.output = cmd, ended, output
	return testkit.Until(testkit.Hang, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		c, err := net.DialTimeout("tcp", e.Addr(), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	}) && e.running()
}

func (e *Engine) running() bool {
	select {
	case <-e.ended:
		return false
	default:
		return true
	}
}

// Kill ends the engine at once. Its data is lost.
func (e *Engine) Kill() {
	_ = e.cmd.Process.Signal(syscall.SIGKILL)
	<-e.ended
}

// Restart starts a killed engine at the same address, without data.
func (e *Engine) Restart() {
	e.t.Helper()
	if !e.start() {
		e.t.Fatalf("%s does not start again:\n%s", e.program.path, e.output)
	}
}

// Freeze stops the engine's process: connections stay open, and commands are not answered. Thaw ends that.
func (e *Engine) Freeze() { e.signal(syscall.SIGSTOP) }

// Thaw continues the engine's process.
func (e *Engine) Thaw() { e.signal(syscall.SIGCONT) }

func (e *Engine) signal(sig syscall.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(sig); err != nil {
		e.t.Fatalf("%v to the engine: %v", sig, err)
	}
}

// Do runs a command as the user default without a password, and returns its reply as text, each element of an array on
// a line.
func (e *Engine) Do(words ...string) string {
	e.t.Helper()
	text, err := e.Try(words...)
	if err != nil {
		e.t.Fatalf("%s: %v", strings.Join(words, " "), err)
	}
	return text
}

// Try is Do, but returns the engine's error instead of failing the test.
func (e *Engine) Try(words ...string) (string, error) { return e.TryAs("", words...) }

// TryAs is Try with a password.
func (e *Engine) TryAs(password string, words ...string) (string, error) {
	client, err := valkey.NewClient(
		valkey.ClientOption{InitAddress: []string{e.Addr()}, ForceSingleClient: true, DisableCache: true,
			Password: password,
			Dialer:   net.Dialer{Timeout: testkit.Hang}})
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Hang)
	defer cancel()
	m, err := client.Do(ctx, client.B().Arbitrary(words...).Build()).ToMessage()
	if valkey.IsValkeyNil(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return replyText(m), nil
}

// replyText returns a reply as text.
func replyText(m valkey.ValkeyMessage) string {
	if all, err := m.ToArray(); err == nil {
		lines := make([]string, len(all))
		for i, one := range all {
			lines[i] = replyText(one)
		}
		return strings.Join(lines, "\n")
	}
	if all, err := m.AsStrMap(); err == nil {
		var lines []string
		for k, v := range all {
			lines = append(lines, k+"\n"+v)
		}
		return strings.Join(lines, "\n")
	}
	if n, err := m.AsInt64(); err == nil {
		return fmt.Sprint(n)
	}
	text, _ := m.ToString() // "" for nil
	return text
}
