package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestCheckInterrupted: a signal ends the command without a verdict on what was not seen.
func TestCheckInterrupted(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{})
	srv.On("example.org", dns.TypeMX, dnstest.Drop)
	config := filepath.Join(t.TempDir(), "stsmapd.toml")
	if err := os.WriteFile(config, []byte("[dns]\nservers = [\""+srv.Addr()+"\"]\ntimeout = \"10s\"\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"example.org"}, {"example.org", "example.com"}, {"--json", "example.org"}} {
		srv.Reset()
		var stdout, stderr bytes.Buffer
		code := make(chan int)
		go func() {
			code <- run(context.Background(), append([]string{"check", "--config", config}, args...), &stdout, &stderr)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), testkit.Hang)
		defer cancel()
		if err := srv.Wait(ctx, "example.org", dns.TypeMX, 1); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil { // run waits for it: it looks already
			t.Fatal(err)
		}
		if got := <-code; got != exitError || stderr.String() != "stsmapd: interrupted\n" {
			t.Errorf("%v: exit code %d and %q, want %d", args, got, stderr.String(), exitError)
		}
		if strings.Contains(stdout.String(), "example.org would be") || strings.Contains(stdout.String(), "pass\n") {
			t.Errorf("%v: a verdict:\n%s", args, stdout.String())
		}
	}
}
