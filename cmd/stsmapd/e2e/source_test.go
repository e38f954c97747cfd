package e2e

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestFromSource runs the daemon from source, as README.md says. It has the default address, so it does not run in
// parallel.
func TestFromSource(t *testing.T) {
	testkit.AllOnly(t, "the daemon by go run")
	w := world.Open(t)
	cmd := exec.Command("go", "run", "./cmd/stsmapd", "serve")
	cmd.Dir, cmd.SysProcAttr = "../../..", &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer // with a pipe, Wait waits for the daemon, which is a child of go
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s", &log)
		}
	})
	testkit.Eventually(t, testkit.Hang, "the daemon to answer", func() bool {
		return w.Command(t, nil, "query", "--health").Code == 0
	})
}
