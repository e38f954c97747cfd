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

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// asContainer makes a container's file system of $1, read-only, with $2 as the state's volume, and runs the rest of the
// command line in it, as a container engine does with compose.yaml.
const asContainer = `set -eu
mount --make-rprivate /
root=$1 state=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$state" "$root/var/lib/stsmapd"
mount -t tmpfs -o uid=65534,gid=65534,mode=0755 tmpfs "$root/run/stsmapd"
mount -o remount,bind,ro "$root"
ip link set lo up
exec "$@"
`

// broken matches what the log must not have. There is no DNS in the container, which is no fault of the image.
var broken = regexp.MustCompile(`level=ERROR.* event=[^h]|event=no_control`)

// container is an image, unpacked.
type container struct {
	root, state string
	config      struct {
		User       string
		Env        []string
		Entrypoint []string
		Cmd        []string
		Volumes    map[string]any
		Labels     map[string]string
	}
	architecture string
	log          bytes.Buffer
}

// unpack unpacks the image of this architecture, as the OCI image layout says.
func unpack(t *testing.T, p product) *container {
	t.Helper()
	layout, dir := t.TempDir(), t.TempDir()
	c := &container{root: filepath.Join(dir, "root"), state: filepath.Join(dir, "state")}
	untar := func(file, to string) {
		if out, err := exec.Command("tar", "-C", to, "-xpf", file).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
	}
	untar(filepath.Join(p.source, "build/image/stsmapd_"+runtime.GOARCH+".tar"), layout)
	parse := func(file string, into any) {
		if err := json.Unmarshal([]byte(readText(t, filepath.Join(layout, file))), into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	type descriptor struct{ Digest string }
	blob := func(d descriptor) string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }
	var index struct{ Manifests []descriptor }
	parse("index.json", &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	parse(blob(index.Manifests[0]), &manifest)
	var image struct {
		Architecture string
		Config       any
	}
	image.Config = &c.config
	parse(blob(manifest.Config), &image)
	c.architecture = image.Architecture
	for _, d := range []string{c.root, c.state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, layer := range manifest.Layers {
		untar(filepath.Join(layout, blob(layer)), c.root)
	}
	if err := os.Chown(c.state, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	return c
}

// inside returns a command line that runs words in the container's root, with its user and environment.
func (c *container) inside(words ...string) []string {
	return slices.Concat([]string{"env", "-i"}, c.config.Env,
		[]string{"/usr/sbin/chroot", "--userspec=" + c.config.User, "--groups=", c.root}, words)
}

// start starts the image's command in namespaces, and stop ends it.
func (c *container) start(t *testing.T) (m *machine, stop func()) {
	t.Helper()
	words := c.inside(slices.Concat(c.config.Entrypoint, c.config.Cmd)...)
	cmd := exec.Command("/bin/sh", append([]string{"-c", asContainer, "sh", c.root, c.state}, words...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	c.log.Reset()
	cmd.Stdout, cmd.Stderr = &c.log, &c.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &machine{pid: cmd.Process.Pid}, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || !strings.Contains(c.log.String(), "event=shutdown") ||
			broken.MatchString(c.log.String()) {
			t.Errorf("the daemon ended with %v; its log:\n%s", err, &c.log)
		}
	}
}

// TestContainer runs the image of `make image` as compose.yaml has it run, though without a container engine: in its
// own root, read-only, as its user, with its command. It answers, and keeps a policy over a restart.
func TestContainer(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		testkit.Skip(t, "not root, so no namespaces")
	}
	p := shared(t)
	c := unpack(t, p)
	if c.config.User != "65534:65534" || c.architecture != runtime.GOARCH || len(c.config.Volumes) != 1 ||
		c.config.Labels["org.opencontainers.image.version"] == "" {
		t.Errorf("the image is for %s, with %+v", c.architecture, c.config)
	}
	// The policy of another test's store, and the health check of compose.yaml.
	m := &machine{shared: c.state}
	m.store(t)
	if err := os.Chown(filepath.Join(c.state, "policies.db"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	var health []string
	found := regexp.MustCompile(`test: \["CMD", (.*)\]`).FindStringSubmatch(
		readText(t, "../../../../packaging/image/compose.yaml"))
	if found == nil || json.Unmarshal([]byte("["+found[1]+"]"), &health) != nil {
		t.Fatalf("the health check of compose.yaml: %q", found)
	}
	for range 2 {
		m, stop := c.start(t)
		try := func(words ...string) (string, error) { return m.try(strings.Join(c.inside(words...), " ")) }
		testkit.Eventually(t, testkit.Hang, "the health check to succeed",
			func() bool { _, err := try(health...); return err == nil })
		if out, err := try("/usr/bin/stsmapd", "query", "kept.example"); err != nil || strings.TrimSpace(out) != kept {
			t.Errorf("a policy of the volume: %v\n%s", err, out)
		}
		if out, err := try("/usr/bin/stsmapd", "status"); !strings.Contains(out, "inet:0.0.0.0:8461") {
			t.Errorf("stsmapd status: %v\n%s", err, out)
		}
		stop()
	}
}
