package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

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
	j.Spec, j.Server = s.spec, s.pid
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

// questions are asked in a closed loop.
func (b *bench) questions(n names, expect string) job {
	return job{Conns: b.conns, Names: n, Expect: expect, Warmup: b.warmup, Window: b.window}
}

// expectAll turns replies that were not as expected into an error.
func expectAll(o outcome) error {
	if o.Other > 0 {
		return fmt.Errorf("%d replies were not as expected, such as %q", o.Other, strings.TrimSpace(o.Example))
	}
	if o.Questions == 0 {
		return fmt.Errorf("no question was answered")
	}
	return nil
}
