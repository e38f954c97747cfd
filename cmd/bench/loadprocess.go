package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"

	"github.com/stsmapd/stsmapd/cmd/bench/load"
)

// loadProcess is a load that runs in a process of its own.
type loadProcess struct {
	b     *bench
	cmd   *exec.Cmd
	stdin io.Closer
	out   bytes.Buffer
	err   bytes.Buffer
}

// startLoad starts a load on this server.
func (b *bench) startLoad(ctx context.Context, s *server, j load.Job) (*loadProcess, error) {
	j.Spec, j.Server, j.Names.Map = s.spec, s.pid, s.mapName
	for pid := range b.running {
		if pid != s.pid {
			j.Own = append(j.Own, pid)
		}
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	l := &loadProcess{b: b, cmd: b.program(ctx, "load")}
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

// wait waits for the end of the load and returns what it measured.
func (l *loadProcess) wait() (o load.Outcome, err error) {
	err = l.cmd.Wait()
	delete(l.b.running, l.cmd.Process.Pid)
	if err != nil {
		return o, fmt.Errorf("load: %w: %s", err, bytes.TrimSpace(l.err.Bytes()))
	}
	return o, json.Unmarshal(l.out.Bytes(), &o)
}

// stop ends the load early and returns what it measured.
func (l *loadProcess) stop() (load.Outcome, error) {
	l.stdin.Close()
	return l.wait()
}

// runLoad runs a load to its end. A reply that does not begin as expected is an error.
func (b *bench) runLoad(ctx context.Context, s *server, j load.Job) (load.Outcome, error) {
	l, err := b.startLoad(ctx, s, j)
	if err != nil {
		return load.Outcome{}, err
	}
	o, err := l.wait()
	if err == nil {
		err = o.Check()
	}
	return o, err
}

// questions returns a job that asks for these names in a closed loop.
func (b *bench) questions(n load.Names, expect string) load.Job {
	return load.Job{Conns: b.conns, Names: n, Expect: expect, Warmup: b.warmup, Window: b.window}
}
