package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// nobody is a user without rights.
const nobody = 65534

// unwritableStates are state directories that a user (0: root) cannot write to, and what the system says of them.
var unwritableStates = []struct {
	why, cause string
	uid        uint32
	prepare    func(t *testing.T) (stateDir string)
}{
	{"a read-only disk", "read-only file system", 0, func(t *testing.T) string {
		disk := world.SmallDisk(t, "1m")
		world.Remount(t, disk, unix.MS_RDONLY, "")
		return disk
	}},
	{"a read-only disk, and no directory yet", "read-only file system", 0, func(t *testing.T) string {
		disk := world.SmallDisk(t, "1m")
		world.Remount(t, disk, unix.MS_RDONLY, "")
		return filepath.Join(disk, "stsmapd")
	}},
	{"a store on a disk that is read-only by now", "read-only file system", 0, func(t *testing.T) string {
		disk := world.SmallDisk(t, "1m")
		beginStore(t, disk)
		world.Remount(t, disk, unix.MS_RDONLY, "")
		return disk
	}},
	{"a full disk", "no space left on device", 0, func(t *testing.T) string {
		disk := world.SmallDisk(t, "1m")
		world.FillDisk(t, disk, 0)
		return disk
	}},
	{"a file in the directory's place", "not a directory", 0, func(t *testing.T) string {
		file := filepath.Join(t.TempDir(), "state")
		writeFile(t, file)
		return file
	}},
	{"a directory in the store's place", "is a directory", 0, func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "policies.db"), 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}},
	{"another user's directory", "permission denied", nobody, func(t *testing.T) string {
		dir := world.SmallDisk(t, "1m")
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}},
	{"a directory that nobody but its owner may enter", "permission denied", nobody, func(t *testing.T) string {
		dir := world.SmallDisk(t, "1m")
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}},
	{"no directory, nor the right to make one", "permission denied", nobody, func(t *testing.T) string {
		dir := world.SmallDisk(t, "1m")
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "stsmapd")
	}},
	{"another user's store", "permission denied", nobody, func(t *testing.T) string {
		dir := world.SmallDisk(t, "1m")
		beginStore(t, dir)
		return dir
	}},
}

// TestRefusesUnwritableState tests that the daemon does not start if it cannot store policies: it exits with code 1 and
// one line that names the directory and the problem.
func TestRefusesUnwritableState(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	for _, c := range unwritableStates {
		t.Run(c.why, func(t *testing.T) {
			stateDir := c.prepare(t)
			got := serveAs(t, w, c.uid, "--state-dir", stateDir, "--listen",
				"inet:"+net.JoinHostPort(w.Host().String(), "8461"))
			if got.Code != 1 || got.Stdout != "" || complaints(got.Stderr) != 1 {
				t.Errorf("got %+v, want exit code 1 and one line on stderr", got)
			}
			for _, text := range []string{"stsmapd: ", stateDir, c.cause} {
				if !strings.Contains(got.Stderr, text) {
					t.Errorf("the message does not say %q: %s", text, got.Stderr)
				}
			}
			t.Logf("%s", strings.TrimSpace(got.Stderr))
		})
	}
}

// beginStore makes an empty store in dir.
func beginStore(t *testing.T, dir string) {
	t.Helper()
	store, err := store.Open(filepath.Join(dir, "policies.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, []byte("no store\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serveAs runs `stsmapd serve` as a user until it ends, which it should do by itself and soon.
func serveAs(t *testing.T, w *world.World, uid uint32, args ...string) world.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), world.Hang)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binaryFor(t, w, uid), append([]string{"serve"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10")
	if uid != 0 {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return world.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// binaryFor is the stsmapd under test where the user can run it: it may lie in a directory that only root may enter.
func binaryFor(t *testing.T, w *world.World, uid uint32) string {
	t.Helper()
	if uid == 0 {
		return w.Binary
	}
	code, err := os.ReadFile(w.Binary)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(world.PublicDir(t), "stsmapd")
	world.WriteProgram(t, binary, code)
	return binary
}
