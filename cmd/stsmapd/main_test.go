package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/socketmap"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"stsmapd": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the commands as an administrator would: testdata/*.txtar. A script has $DNS, a resolver that knows no
// policy, $LISTEN, a free listener address, and the command `await`.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			srv, err := dnstest.Start(dnstest.Config{})
			if err != nil {
				return err
			}
			env.Defer(func() { srv.Close() })
			listen, err := freeAddress()
			if err != nil {
				return err
			}
			env.Setenv("DNS", srv.Addr())
			env.Setenv("LISTEN", "inet:"+listen)
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "env_subst": envSubst, "signal": sendSignal},
	})
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// envSubst puts the script's variables into files.
func envSubst(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

// sendSignal sends HUP or TERM to every program in the background.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	if neg || len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal HUP|TERM")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

// await waits until a socketmap server listens at the address given or, with a key and a word, answers the key so.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || (len(args) != 1 && len(args) != 3) {
		ts.Fatalf("usage: await LISTENER [KEY STATUS]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		err := reached(ctx, args)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%s", fmt.Errorf("waiting for %v: %w", args, err))
		}
	}
}

func reached(ctx context.Context, args []string) error {
	if len(args) == 1 {
		client, err := socketmap.Dial(ctx, args[0])
		if err != nil {
			return err
		}
		return client.Close()
	}
	reply, err := ask(ctx, args[0], "sts", args[1])
	if err == nil && reply.Status().String() != args[2] {
		err = fmt.Errorf("%s is answered %v", args[1], reply)
	}
	return err
}
