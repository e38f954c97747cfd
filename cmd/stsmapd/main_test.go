package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"stsmapd": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the commands as an administrator would: testdata/*.txtar. A script has $DNS, a resolver that knows
// no policy (but one of announced.example, whose policy host has no address) and fails for mute.example, $LISTEN, a
// free listener address, $RUNTIME_DIRECTORY, where control sockets are, $PACKAGING, and the commands below.
func TestScripts(t *testing.T) {
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"await": await, "env_subst": envSubst, "signal": sendSignal, "awaitlog": awaitLog, "seed": seed,
	}
	maps.Copy(commands, terminalCommands())
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			srv, err := dnstest.Start(dnstest.Config{})
			if err != nil {
				return err
			}
			env.Defer(func() { srv.Close() })
			srv.Add("partner.example. 300 IN MX 10 mx.partner.example.\nmx.partner.example. 300 IN A 192.0.2.1\n")
			srv.Add("_mta-sts.announced.example. 300 IN TXT \"v=STSv1; id=7\"\n")
			srv.Add("_mta-sts.none.example. 300 IN TXT \"v=STSv1; id=20260101\"\n") // the id of what seed writes
			srv.On("_mta-sts.mute.example", dns.TypeTXT, dnstest.ServFail)
			listen, err := freeAddress()
			if err != nil {
				return err
			}
			packaging, err := filepath.Abs("../../packaging")
			if err != nil {
				return err
			}
			env.Setenv("PACKAGING", packaging)
			env.Setenv("DNS", srv.Addr())
			env.Setenv("LISTEN", "inet:"+listen)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("RUNTIME_DIRECTORY", filepath.Join(env.WorkDir, "run"))
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "maillog":
				return len(maillog.Find(time.Time{})) > 0, nil
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: commands,
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

// awaitLog waits until a file holds a text.
func awaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: awaitlog FILE TEXT")
	}
	retryUntil(ts, func(context.Context) error {
		if text := ts.ReadFile(args[0]); !strings.Contains(text, args[1]) {
			return fmt.Errorf("%q is not in %s:\n%s", args[1], args[0], text)
		}
		return nil
	})
}

// await waits until a socketmap server answers at the address given or, with a key and a word, answers the key so.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || (len(args) != 1 && len(args) != 3) {
		ts.Fatalf("usage: await LISTENER [KEY STATUS]")
	}
	retryUntil(ts, func(ctx context.Context) error { return checkAnswer(ctx, args) })
}

// retry tries again until it succeeds, or fails the script when that hangs.
func retryUntil(ts *testscript.TestScript, try func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Hang)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("not done in time: %v", err)
		}
	}
}

func checkAnswer(ctx context.Context, args []string) error {
	if len(args) == 1 { // an answer, not only a connection: by then all other listeners are open too
		_, err := query(ctx, args[0], "sts", ".")
		return err
	}
	reply, err := query(ctx, args[0], "sts", args[1])
	if err == nil && reply.Status().String() != args[2] {
		err = fmt.Errorf("%s is answered %v", args[1], reply)
	}
	return err
}

// TestVersion: a build without a tag has the version of CHANGELOG.md's newest heading.
func TestVersion(t *testing.T) {
	text, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## ")
	if heading, _, _ := strings.Cut(rest, "\n"); !strings.HasPrefix(heading, nextVersion) {
		t.Errorf("the newest heading of CHANGELOG.md is %q, and nextVersion %s", heading, nextVersion)
	}
	if got, want := version(), "v"+nextVersion+"-devel"; got != want {
		t.Errorf("a test has the version %s, want %s", got, want)
	}
}
