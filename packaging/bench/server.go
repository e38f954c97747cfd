package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// Limits on how long things take that should take no time.
const (
	readyLimit = 60 * time.Second
	stopLimit  = 20 * time.Second
)

// server is a running stsmapd or echo.
type server struct {
	unix, inet string // where it listens, as Postfix writes it
	metrics    string // HOST:PORT of stsmapd's HTTP listener, if it has one
	pid        int

	b      *bench
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error // how it ended
}

// daemonConfig is what rows want of a stsmapd.
type daemonConfig struct {
	stateDir    string // "": a new one
	maxNegative int    // 0: stsmapd's default
}

// startDaemon starts a stsmapd and waits until it answers.
func (b *bench) startDaemon(ctx context.Context, c daemonConfig) (*server, error) {
	s, err := b.launchDaemon(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "inet:192.0.2.1"); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// launchDaemon starts a stsmapd and does not wait.
func (b *bench) launchDaemon(ctx context.Context, c daemonConfig) (*server, error) {
	s := b.newServer()
	if c.stateDir == "" {
		c.stateDir = s.log + ".state"
	}
	toml := fmt.Sprintf("control = \"\"\nlisten = [%q, %q]\nmetrics = %q\nstate_dir = %q\n", s.unix, s.inet, s.metrics, c.stateDir)
	toml += fmt.Sprintf("[dns]\nservers = [%q]\n[fetch]\nca_file = %q\nallow_private_addresses = true\n", resolverAddress, b.caFile)
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
func (b *bench) startEcho(ctx context.Context, reply string) (*server, error) {
	s := b.newServer()
	frame := netstring.Append(nil, reply)
	if err := s.start(b.program(ctx, "echo", string(frame), s.unix, s.inet)); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "anything"); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// newServer has addresses that no other has.
func (b *bench) newServer() *server {
	b.started++
	return &server{
		b: b, exited: make(chan struct{}), log: filepath.Join(b.dir, fmt.Sprintf("server-%d", b.started)),
		unix:    fmt.Sprintf("unix:%s/%d.sock", b.dir, b.started),
		inet:    fmt.Sprintf("inet:127.0.0.1:%d", 10_000+b.started),
		metrics: fmt.Sprintf("127.0.0.1:%d", 20_000+b.started),
	}
}

// program is one of this binary's own programs.
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
	client, err := socketmap.Dial(ctx, s.unix)
	if err != nil {
		return "", err
	}
	defer client.Close()
	reply, err := client.Ask(ctx, "sts", key)
	return reply.String(), err
}

// failure is an error with the last of the server's log.
func (s *server) failure(what string) error {
	log, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s %s; its log ends: %s", filepath.Base(s.cmd.Path), what, log[max(0, len(log)-2000):])
}

// stop ends the server.
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

// loading is a load under way.
type loading struct {
	b     *bench
	cmd   *exec.Cmd
	stdin io.Closer
	out   bytes.Buffer
	err   bytes.Buffer
}

// startLoad starts a load, in a process of its own, on this server.
func (b *bench) startLoad(ctx context.Context, s *server, j job) (*loading, error) {
	j.Server = s.pid
	for pid := range b.running {
		if pid != s.pid {
			j.Own = append(j.Own, pid)
		}
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	l := &loading{b: b, cmd: b.program(ctx, "load")}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.err
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	l.stdin = stdin
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	b.running[l.cmd.Process.Pid] = true
	if _, err := stdin.Write(append(text, '\n')); err != nil {
		return nil, err
	}
	return l, nil
}

// wait waits for the end of the load.
func (l *loading) wait() (o outcome, err error) {
	err = l.cmd.Wait()
	delete(l.b.running, l.cmd.Process.Pid)
	if err != nil {
		return o, fmt.Errorf("load: %w: %s", err, bytes.TrimSpace(l.err.Bytes()))
	}
	return o, json.Unmarshal(l.out.Bytes(), &o)
}

// stop ends the load before its time.
func (l *loading) stop() (outcome, error) {
	l.stdin.Close()
	return l.wait()
}

// load runs a load to its end.
func (b *bench) load(ctx context.Context, s *server, j job) (outcome, error) {
	l, err := b.startLoad(ctx, s, j)
	if err != nil {
		return outcome{}, err
	}
	o, err := l.wait()
	if err == nil {
		err = expectAll(o)
	}
	return o, err
}

// dial opens a connection to the server's UNIX socket.
func (s *server) dial() (net.Conn, error) {
	network, address, err := socketmap.ParseSpec(s.unix)
	if err != nil {
		return nil, err
	}
	return net.Dial(network, address)
}
