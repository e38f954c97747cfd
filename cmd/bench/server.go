package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// Limits for what should take no time.
const (
	readyLimit = 60 * time.Second
	stopLimit  = 20 * time.Second
)

// server is a running daemon or echo.
type server struct {
	spec    string // where it listens, as Postfix writes it
	mapName string // that it is asked by
	metrics string // HOST:PORT for stsmapd's HTTP listener
	pid     int

	b      *bench
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error // how it ended
}

// network is a kind of socket that Postfix can ask on.
type network string

const (
	unixSocket network = "unix"
	tcp        network = "inet"
)

// daemonConfig is the configuration of a daemon, as far as rows choose it.
type daemonConfig struct {
	network     network // "": unixSocket
	stateDir    string  // "": a new one
	maxNegative int     // 0: stsmapd's default
	metrics     bool    // open the HTTP listener
}

// startDaemon starts the daemon that is measured and waits until it answers.
func (b *bench) startDaemon(ctx context.Context, c daemonConfig) (*server, error) {
	s, err := b.launch(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "[192.0.2.1]"); err != nil { // NOTFOUND without a lookup
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// launchStsmapd starts a stsmapd and does not wait until it answers.
func (b *bench) launchStsmapd(ctx context.Context, c daemonConfig) (*server, error) {
	s := b.newServer(c.network)
	if c.stateDir == "" {
		c.stateDir = s.log + ".state"
	}
	toml := fmt.Sprintf("control = \"\"\nlisten = [%q]\nstate_dir = %q\n", s.spec, c.stateDir)
	if c.metrics {
		toml += fmt.Sprintf("metrics = %q\n", s.metrics)
	}
	toml += fmt.Sprintf("[dns]\nservers = [%q]\n[fetch]\nca_file = %q\nallow_private_addresses = true\n",
		internet.ResolverAddress, b.caFile)
	if c.maxNegative > 0 {
		toml += fmt.Sprintf("[cache]\nmax_negative = %d\n", c.maxNegative)
	}
	file := s.log + ".toml"
	if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
		return nil, err
	}
	return s, s.start(exec.CommandContext(ctx, b.binary, "serve", "--config", file))
}

// startEcho starts an echo that answers with this reply.
func (b *bench) startEcho(ctx context.Context, on network, reply string) (*server, error) {
	s := b.newServer(on)
	frame := netstring.Append(nil, reply)
	if err := s.start(b.program(ctx, "echo", string(frame), s.spec)); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "anything"); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// newServer returns a server with a listener of its own, not yet started.
func (b *bench) newServer(on network) *server {
	b.started++
	s := &server{
		b: b, exited: make(chan struct{}), mapName: "sts",
		log:  filepath.Join(b.dir, fmt.Sprintf("server-%d", b.started)),
		spec: fmt.Sprintf("unix:%s/%d.sock", b.dir, b.started), metrics: fmt.Sprintf("127.0.0.1:%d", 20_000+b.started),
	}
	if on == tcp {
		s.spec = fmt.Sprintf("inet:127.0.0.1:%d", 10_000+b.started)
	}
	return s
}

// program returns the command that runs a program of this binary (see run).
func (b *bench) program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envProgram+"="+name)
	return cmd
}

func (s *server) start(cmd *exec.Cmd) error {
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.pid = cmd, cmd.Process.Pid
	s.b.running[s.pid] = true
	go func() {
		s.err = cmd.Wait()
		close(s.exited)
	}()
	return nil
}

// ready waits until the server answers this question.
func (s *server) ready(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		_, err := s.ask(ctx, key)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return s.failure("ended")
		case <-ctx.Done():
			return errors.Join(err, s.failure("does not answer"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ask asks a question on a connection of its own.
func (s *server) ask(ctx context.Context, key string) (string, error) {
	client, err := socketmap.Dial(ctx, s.spec)
	if err != nil {
		return "", err
	}
	defer client.Close()
	reply, err := client.Ask(ctx, s.mapName, key)
	return reply.String(), err
}

// failure returns an error with the end of the server's log.
func (s *server) failure(what string) error {
	log, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s %s; its log ends: %s", filepath.Base(s.cmd.Path), what, log[max(0, len(log)-2000):])
}

// stop ends the server. It returns an error if the server has crashed.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // unless it has ended
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-s.exited:
	case <-timer.C:
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	delete(s.b.running, s.pid)
	log, _ := os.ReadFile(s.log)
	if bytes.Contains(log, []byte("panic:")) || bytes.Contains(log, []byte("fatal error:")) {
		return s.failure("crashed")
	}
	return nil
}

// dial opens a connection to the server.
func (s *server) dial() (net.Conn, error) {
	network, address, err := socketmap.ParseSpec(s.spec)
	if err != nil {
		return nil, err
	}
	return net.Dial(network, address)
}

// firstReply asks as soon as the server accepts a connection, and returns the reply.
func (s *server) firstReply(question []byte) (string, error) {
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(readyLimit); ; {
		if conn, err = s.dial(); err == nil {
			break
		}
		select {
		case <-s.exited:
			return "", s.failure("ended")
		case <-time.After(100 * time.Microsecond):
		}
		if time.Now().After(deadline) {
			return "", s.failure("does not listen")
		}
	}
	defer conn.Close()
	if _, err := conn.Write(question); err != nil {
		return "", err
	}
	reply, err := load.ReadReply(conn, make([]byte, 4096))
	return string(reply), err
}

// metric reads one of stsmapd's metrics that has no labels.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no %s among stsmapd's metrics", name)
}
