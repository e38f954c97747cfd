package install

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// nobody is the user of the Dockerfile.
const nobody = 65534

// asContainer makes a container's file system of $1, read-only, with $2 as the state's volume, and runs the rest of the
// command line in it, as a container engine does: as nobody.
const asContainer = `set -eu
mount --make-rprivate /
root=$1 state=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$state" "$root/var/lib/stsmapd"
mount -t tmpfs -o uid=65534,gid=65534,mode=0755 tmpfs "$root/run/stsmapd"
mount -o remount,bind,ro "$root"
ip link set lo up
exec env -i ` + asNobody + ` "$root" "$@"
`

// asNobody is the environment and the user of the Dockerfile; a root directory and a command follow.
const asNobody = "STATE_DIRECTORY=/var/lib/stsmapd RUNTIME_DIRECTORY=/run/stsmapd /usr/sbin/chroot " +
	"--userspec=65534:65534 --groups="

// dockerfile is the words of an instruction of the Dockerfile in JSON form.
func dockerfile(t *testing.T, instruction string) (words []string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + instruction +
		`[^\[\n]*(\[.*\])$`).FindStringSubmatch(readText(t, "../../../../packaging/image/Dockerfile"))
	if found == nil {
		t.Fatalf("no %s in the Dockerfile", instruction)
	}
	if err := json.Unmarshal([]byte(found[1]), &words); err != nil {
		t.Fatal(err)
	}
	return words
}

// TestContainer runs the released binary as the Dockerfile would have it run. There is no container engine here: what
// the test does not show is that the image is built.
func TestContainer(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		testkit.Skip(t, "not root, so no namespaces")
	}
	p := shared(t)
	dir := t.TempDir()
	root, state := filepath.Join(dir, "root"), filepath.Join(dir, "state")
	for _, d := range []string{"usr/bin", "etc/ssl/certs", "var/lib/stsmapd", "run/stsmapd"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		p.file(t, "stsmapd_linux_"+runtime.GOARCH): "usr/bin/stsmapd",
		"/etc/ssl/certs/ca-certificates.crt":       "etc/ssl/certs/ca-certificates.crt"} {
		world.WriteProgram(t, filepath.Join(root, to), []byte(readText(t, from)))
	}
	words := slices.Concat(dockerfile(t, "ENTRYPOINT"), dockerfile(t, "CMD"))
	cmd := exec.Command("/bin/sh", append([]string{"-c", asContainer, "sh", root, state}, words...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inside := &machine{pid: cmd.Process.Pid}
	enter := "env -i " + asNobody + " '" + root + "' "
	health := enter + strings.Join(dockerfile(t, "HEALTHCHECK"), " ")
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), "event=shutdown") ||
			strings.Contains(log.String(), "level=ERROR") ||
			strings.Contains(log.String(), "event=no_control") {
			t.Errorf("the daemon ended with %v; its log:\n%s", err, &log)
		}
	}()
	testkit.Eventually(t, testkit.Hang, "the health check to succeed",
		func() bool { _, err := inside.try(health); return err == nil })
	if _, err := os.Stat(filepath.Join(state, "policies.db")); err != nil {
		t.Error(err)
	}
	if out, err := inside.try(enter + "/usr/bin/stsmapd status"); err != nil ||
		!strings.Contains(out, "inet:0.0.0.0:8461") {
		t.Errorf("stsmapd status: %v\n%s", err, out)
	}
}
